"""The secret that is shown where there are no keys: to whom, and when."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from maitred.client.origin import Origin
from maitred.config.credentials import Showing
from maitred.config.key_file import KeyFileError, read_secret
from maitred.config.rundir import Connection, RunDir, claim
from maitred.protocol import frames
from maitred.protocol import messages as m
from maitred.protocol.agent import AgentConnection
from maitred.protocol.worker import ControlConnection, Held, RequestsConnection

TCP = "tcp://127.0.0.1:5751"
SECRET = "5ec4e7" * 10
WELCOME = frames.encode(m.Welcome(bytes(16), 1.0, 3, 1000))
STRANGER = frames.encode(m.Stranger())


@pytest.fixture(autouse=True)
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("MAITRED_RUN_DIR", str(tmp_path / "run"))
    return tmp_path / "run"


def publish(directory: RunDir) -> None:
    directory.publish(Connection(os.getpid(), [TCP], [TCP, directory.workers_ipc], 0.0, "1", SECRET))


def test_who_has_shown_the_secret_over_tcp_waits_until_its_broker_is_there_again(run: Path) -> None:
    """Anybody may take the port of a broker that has ended."""
    show = Showing(TCP)
    assert show() == ""
    with claim(run) as directory:
        assert show() == ""
        publish(directory)
        assert show() == SECRET
        directory.withdraw()
        assert show() is None
    assert show() is None
    with claim(run) as directory:
        assert show() is None
        publish(directory)
        assert show() == SECRET


def test_over_ipc_it_is_shown_whenever_it_is_known(run: Path) -> None:
    with claim(run) as directory:
        endpoint = directory.workers_ipc
        show = Showing(endpoint)
        assert show() == ""
        publish(directory)
        assert show() == SECRET
    assert show() == SECRET
    assert Showing(endpoint, "given")() == "given"
    assert Showing(TCP, "given")() == ""


def test_it_is_in_no_repr() -> None:
    assert SECRET not in repr(Showing("ipc://x", SECRET))


def test_a_client_that_is_called_a_stranger_by_who_has_taken_the_port_tells_him_nothing(run: Path) -> None:
    connection = Origin().connection(TCP, None)
    with claim(run) as directory:
        publish(directory)
        connection.start(0.0)
        hello, _ = frames.from_client.decode(connection.outgoing.pop())
        connection.receive(WELCOME, 0.0)
    assert isinstance(hello, m.Hello)
    assert hello.secret == SECRET
    connection.request(m.Request(1, "general", "echo"), [b"\x80"], 0.0)
    connection.outgoing.clear()
    connection.receive(STRANGER, 0.1)
    connection.tick(5.0)
    assert connection.outgoing == []
    with claim(run) as directory:
        publish(directory)
        connection.tick(6.0)
    assert frames.from_client.decode(connection.outgoing.pop())[0] == hello


def test_a_worker_and_an_agent_neither(run: Path) -> None:
    show = Showing(TCP)
    worker = RequestsConnection(m.Register(bytes(16), bytes(16), "p", 1, []), Held(), show)
    control = ControlConnection(bytes(16), bytes(16), show)
    agent = AgentConnection(m.Agent(bytes(16), "p"), Showing(TCP))
    with claim(run) as directory:
        publish(directory)
        assert _secret(worker.register()) == SECRET
        assert control.attach() is not None
        agent.start(0.0)
        assert _secret(agent.outgoing.pop()) == SECRET
        agent.receive(WELCOME, 0.0)
    assert worker.register() is None
    assert control.attach() is None
    agent.receive(STRANGER, 1.0)
    agent.tick(2.0, [])
    agent.tick(3.0, [])
    assert agent.outgoing == []


def _secret(said: frames.Frames | None) -> str:
    assert said is not None
    message, _ = frames.from_worker.decode(said)
    assert isinstance(message, m.Register | m.Agent)
    return message.secret


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_refused_and_not_waited_for(make: Callable[..., None], tmp_path: Path) -> None:
    path = tmp_path / "key"
    make(path, 0o700)
    with pytest.raises(KeyFileError, match="is no file"):
        read_secret(path)
