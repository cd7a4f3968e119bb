"""A client with a key: let in, refused at once and by name, its key taken back amid its calls, and given again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import trio
from guarded_broker import GuardedBroker, new_key

from maitred.client import AsyncClient, Client
from maitred.client.errors import Unauthenticated
from maitred.config.credentials import KEY_VARIABLE
from maitred.config.key_file import KeyFile, write_key
from maitred.config.rundir import Connection, claim
from maitred.protocol import frames
from maitred.protocol import messages as m
from maitred.protocol.client import ClientConnection, Failed

SERVER = new_key()
KEY = new_key(SERVER)

PATIENCE_S = 30.0
"""Longer than any test may take: whoever waits for it fails."""

AT_ONCE_S = 2.0

REVOKED = frames.encode(m.Error(-1, "unauthenticated", "the key of alice was taken back"), [b"\x80"])


@pytest.fixture(autouse=True)
def nothing_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    monkeypatch.setenv("MAITRED_RUN_DIR", str(tmp_path / "run"))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    write_key(tmp_path / "alice.key", KEY, "alice")
    return tmp_path / "alice.key"


@pytest.fixture
def make_broker() -> Iterator[Callable[..., GuardedBroker]]:
    made: list[GuardedBroker] = []

    def make(key: KeyFile | None = SERVER, status: str = "200") -> GuardedBroker:
        made.append(GuardedBroker(key))
        made[-1].status = status
        return made[-1]

    yield make
    for broker in made:
        broker.close()


def execute(endpoint: str, **options: Any) -> Any:
    with Client(endpoint, connect_timeout=PATIENCE_S, **options) as client:
        return client.execute("general", "echo", {"x": 1})


def submit(endpoint: str, **options: Any) -> Any:
    with Client(endpoint, connect_timeout=PATIENCE_S, **options) as client:
        return client.submit("general", "echo", {"x": 1}).result(PATIENCE_S)


def execute_async(endpoint: str, **options: Any) -> Any:
    async def call() -> Any:
        async with AsyncClient(endpoint, connect_timeout=PATIENCE_S, **options) as client:
            return await client.execute("general", "echo", {"x": 1})

    return trio.run(call)


each_verb = pytest.mark.parametrize("verb", [execute, submit, execute_async])


@each_verb
def test_a_key_lets_in(verb: Callable[..., Any], make_broker: Callable[..., GuardedBroker], key: Path) -> None:
    broker = make_broker()
    assert verb(broker.clients, key=key) == {"x": 1}
    assert broker.seen == [KEY.public]
    assert broker.hellos[0].secret == ""


@each_verb
@pytest.mark.parametrize(
    ("server", "status", "with_key", "text"),
    [
        (SERVER, "400", True, "refused this key"),
        (SERVER, "200", False, "asks for a key"),
        (None, "200", True, "has no keys"),
        (None, "400", False, "without a key"),
    ],
    ids=["refused", "key needed", "no keys", "refused without a key"],
)
def test_a_refusal_is_told_at_once_and_is_not_taken_for_absence(
    verb: Callable[..., Any],
    server: KeyFile | None,
    status: str,
    with_key: bool,
    text: str,
    make_broker: Callable[..., GuardedBroker],
    key: Path,
) -> None:
    broker = make_broker(server, status)
    began = time.monotonic()
    with pytest.raises(Unauthenticated, match=text):
        verb(broker.clients, key=key if with_key else None)
    assert time.monotonic() - began < AT_ONCE_S


def test_the_environment_names_a_key_and_ipc_needs_none(
    make_broker: Callable[..., GuardedBroker], key: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, str(key))
    assert execute(make_broker().clients) == {"x": 1}
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "no.key"))
    broker = GuardedBroker(None, address=f"ipc://{tmp_path}/it.ipc")
    try:
        assert execute(broker.clients) == {"x": 1}
    finally:
        broker.close()


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_key_that_cannot_be_used_is_told_when_the_client_is_made(
    kind: type[Client | AsyncClient], key: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"cannot read .*no\.key"):
        kind("tcp://127.0.0.1:1", key=tmp_path / "no.key")
    os.chmod(key, 0o644)
    with pytest.raises(ValueError, match="others may read"):
        kind("tcp://127.0.0.1:1", key=key)


# --- a key that is taken back ---


def revoking(broker: GuardedBroker) -> Callable[[Any, Any], Any]:
    """Answers the second request and what follows as a broker does whose authorisation file has lost the key."""

    def answer(message: Any, body: Any) -> Any:
        if isinstance(message, m.Request) and message.command == "echo":
            return [frames.encode(m.Reply(message.id), body)]
        return [REVOKED]

    return answer


def test_what_is_outstanding_and_what_comes_later_is_unauthenticated(
    make_broker: Callable[..., GuardedBroker], key: Path
) -> None:
    broker = make_broker()
    broker.answers = revoking(broker)
    with Client(broker.clients, key=key) as client:
        client.execute("general", "echo")
        futures: list[Future[Any]] = [client.submit("general", "hang") for _ in range(3)]
        for future in futures:
            with pytest.raises(Unauthenticated, match="taken back"):
                future.result(PATIENCE_S)
        for _ in range(2):
            with pytest.raises(Unauthenticated, match="taken back"):
                client.execute("general", "hang")
        assert client.execute("general", "echo", {"x": 2}) == {"x": 2}, "it was given back"


async def test_the_same_for_tasks(make_broker: Callable[..., GuardedBroker], key: Path) -> None:
    broker = make_broker()
    broker.answers = revoking(broker)
    async with AsyncClient(broker.clients, key=key) as client:
        await client.execute("general", "echo")
        for _ in range(2):
            with pytest.raises(Unauthenticated, match="taken back"):
                await client.execute("general", "hang")
        assert await client.execute("general", "echo", {"x": 2}) == {"x": 2}


class Restarting:
    """A guarded broker that ends, and comes back at the same address, letting nobody in until told to."""

    def __init__(self) -> None:
        self.broker = GuardedBroker(SERVER)
        self.clients = self.broker.clients

    def come_back(self, status: str) -> None:
        self.broker.close()
        self.broker = GuardedBroker(SERVER, address=self.clients)
        self.broker.status = status


@pytest.fixture
def restarting() -> Iterator[Restarting]:
    it = Restarting()
    yield it
    it.broker.close()


@pytest.mark.slow
def test_a_broker_that_comes_back_and_refuses_is_not_taken_for_absent_and_may_let_in_again(
    restarting: Restarting, key: Path
) -> None:
    with Client(restarting.clients, key=key, connect_timeout=PATIENCE_S) as client:
        client.execute("general", "echo")
        restarting.come_back("400")
        for _ in range(2):
            with pytest.raises(Unauthenticated, match="refused this key"):
                client.execute("general", "echo", timeout=PATIENCE_S)
        with pytest.raises(Unauthenticated, match="refused this key"):
            client.submit("general", "echo").result(PATIENCE_S)
        restarting.broker.status = "200"
        assert patiently(lambda: client.execute("general", "echo", {"x": 3})) == {"x": 3}
        assert patiently(lambda: client.submit("general", "echo", {"x": 3}).result()) == {"x": 3}
    assert len(restarting.broker.requests) == 2, "what was refused is not sent later"


@pytest.mark.slow
async def test_the_same_in_a_loop(restarting: Restarting, key: Path) -> None:
    async with AsyncClient(restarting.clients, key=key, connect_timeout=PATIENCE_S) as client:
        await client.execute("general", "echo")
        await trio.to_thread.run_sync(restarting.come_back, "400")
        for _ in range(2):
            with pytest.raises(Unauthenticated, match="refused this key"):
                await client.execute("general", "echo", timeout=PATIENCE_S)
        restarting.broker.status = "200"
        with trio.fail_after(PATIENCE_S):
            while True:
                try:
                    assert await client.execute("general", "echo", {"x": 3}) == {"x": 3}
                    break
                except Unauthenticated:
                    await trio.sleep(0.05)
    assert len(restarting.broker.requests) == 1, "what was refused is not sent later"


def patiently(call: Callable[[], Any]) -> Any:
    give_up = time.monotonic() + PATIENCE_S
    while True:
        try:
            return call()
        except Unauthenticated:
            assert time.monotonic() < give_up
            time.sleep(0.05)


# --- the secret ---


@pytest.mark.parametrize("listed", [True, False])
def test_the_secret_is_shown_to_the_broker_whose_file_has_it_and_to_nobody_else(
    listed: bool, make_broker: Callable[..., GuardedBroker], tmp_path: Path
) -> None:
    broker = make_broker(None)
    clients = [broker.clients if listed else "tcp://127.0.0.1:1"]
    with claim(tmp_path / "run") as directory:
        directory.publish(Connection(os.getpid(), clients, [], 0.0, "1", "5ec4e7" * 10))
        assert execute(broker.clients) == {"x": 1}
    assert broker.hellos[0].secret == ("5ec4e7" * 10 if listed else "")


def test_what_failed_before_it_left_never_leaves() -> None:
    connection = ClientConnection(bytes(16), "tcp://h:1")
    connection.start(0.0)
    connection.receive(frames.encode(m.Welcome(bytes(16), 1.0, 3, 1000)), 0.0)
    connection.outgoing.clear()
    connection.request(m.Request(1, "general", "echo"), [b"\x80"], 0.0)
    (failed,) = connection.fail_all(Unauthenticated("taken back"))
    assert isinstance(failed, Failed)
    assert failed.id == 1
    assert connection.outgoing == []
