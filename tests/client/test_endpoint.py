"""Finding the broker: argument, environment, connection file; what is no address is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from maitred.client import AsyncClient, Client
from maitred.client.endpoint import find_endpoint
from maitred.client.errors import Unavailable
from maitred.config.rundir import Connection, RunDir, claim


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.delenv("MAITRED_ENDPOINT", raising=False)
    monkeypatch.setenv("MAITRED_RUN_DIR", str(tmp_path / "run"))
    return tmp_path / "run"


def publish(directory: RunDir) -> None:
    directory.publish(Connection(1, [directory.clients_ipc, "tcp://127.0.0.1:5750"], [], 0.0, "1"))


def test_the_argument_wins_then_the_environment_then_the_connection_file(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with claim(nowhere) as directory:
        publish(directory)
        assert find_endpoint(None) == f"ipc://{nowhere}/clients.ipc"
        monkeypatch.setenv("MAITRED_ENDPOINT", "tcp://elsewhere:1")
        assert find_endpoint(None) == "tcp://elsewhere:1"
        assert find_endpoint("tcp://[::1]:2") == "tcp://[::1]:2"


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_without_any_it_says_what_to_do(kind: type[Client | AsyncClient]) -> None:
    with pytest.raises(Unavailable, match=r"`maitred up`.*MAITRED_ENDPOINT") as caught:
        kind()
    assert caught.value.reason == "no_broker"


@pytest.mark.parametrize(
    "endpoint",
    [
        "localhost",
        "localhost:5750",
        "tcp://localhost",
        "tcp://h:0",
        "tcp://h:65536",
        "tcp://::1:5",
        "http://h:1",
        "ipc://",
    ],
)
def test_what_is_no_endpoint_is_named(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="is no endpoint: write tcp://host:port") as caught:
        Client(endpoint)
    assert repr(endpoint) in str(caught.value)
    monkeypatch.setenv("MAITRED_ENDPOINT", endpoint)
    with pytest.raises(ValueError, match=r"^\$MAITRED_ENDPOINT: "):
        AsyncClient()
