"""Who may do what, as one table, against real brokers: with keys and without, over TCP and over ipc://.

Each line is somebody, each column what he tries. What stands there is what comes of it: "done"; of the broker's tables
"all" or "own"; else the code of the refusal.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from user_shell import ANY_PORT, Shell, ended, ready, wait_for

from maitred.client import Client
from maitred.client.errors import MaitredError, PermissionDenied, Unauthenticated
from maitred.config.key_file import KeyFile, read_key, write_key
from maitred.config.rundir import Connection, read_connection
from maitred.protocol import frames, messages
from maitred.protocol.errors import from_wire
from maitred.transport.endpoints import connect
from maitred.transport.frames import send_message
from maitred.transport.refusals import HandshakeRefusals
from maitred.transport.sockets import dealer

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
WITHIN_S = 20.0

POOLS = "\n".join(f'[pools.{name}]\nadapter = "{HERE / "app.py"}:service"' for name in ("general", "other", "spare"))

ACTS = ("call", "serve", "operate", "read")
"""A command of pool `general`; a worker of it; to pause a pool; the tables of what others did."""

UNKNOWN = dict.fromkeys(ACTS, "unauthenticated")

WITH_KEYS = {
    # who: over TCP
    "no key": UNKNOWN,
    "an unknown key": UNKNOWN,
    "a client's key": {"call": "done", "serve": "unauthenticated", "operate": "permission_denied", "read": "own"},
    "a key of a worker of another pool": UNKNOWN | {"serve": "permission_denied"},
    "a key that was revoked": UNKNOWN,
    "an operator's key": {"call": "permission_denied", "serve": "unauthenticated", "operate": "done", "read": "all"},
}
"""Who may do nothing at all on a side does not get past the handshake there."""

OWN_USER = {"call": "done", "serve": "permission_denied", "operate": "done", "read": "all"}
"""Over ipc://, whatever the key: the kernel says that it is the broker's user. To serve, the secret is asked for."""

WITHOUT_KEYS = {
    "no secret": {"call": "done", "serve": "permission_denied", "operate": "permission_denied", "read": "own"},
    "the secret": {"call": "done", "serve": "done", "operate": "done", "read": "all"},
    "a client's key": UNKNOWN,
}

KEYS = {
    "no key": None,
    "an unknown key": "unknown",
    "a client's key": "alice",
    "a key of a worker of another pool": "other",
    "a key that was revoked": "gone",
    "an operator's key": "boss",
}


class Site:
    """A broker of `maitred broker`, and one worker of pool `general`.

    Attributes:
        connection: where it listens.
        run: its run directory.
    """

    def __init__(self, directory: Path, *, keys: bool) -> None:
        self.shell = Shell(directory)
        self.run = directory / "run"
        self.keys = directory / "keys"
        (directory / "maitred.toml").write_text(
            POOLS + (f'\n[broker]\nkey = "{self.keys}/broker.key"\n' if keys else "")
        )
        self.new("alice", "client", "--call", "general")
        self.new("other", "worker", "--serve", "other")
        self.new("gone", "operator", "--call", "*")
        self.new("boss", "operator")
        self.new("helper", "worker", "--serve", "general")
        public, secret = zmq.curve_keypair()
        write_key(self.keys / "unknown.key", KeyFile(public.decode(), secret.decode(), self.key("alice").server), "")
        self.broker = self.shell.start(*ANY_PORT, "broker")
        ready(self.broker)
        found = read_connection(self.run)
        assert found is not None
        self.connection: Connection = found
        self.helper(["--key", str(self.keys / "helper.key"), "--connect", found.workers[-1]] if keys else [])

    def new(self, name: str, role: str, *may: str) -> None:
        done = self.shell.maitred("keys", "new", name, "--role", role, *may, "--directory", str(self.keys))
        assert done.returncode == 0, done.stderr

    def key(self, name: str) -> KeyFile:
        return read_key(self.keys / f"{name}.key")

    def helper(self, options: list[str]) -> None:
        """A worker without an agent: by its key over TCP, or by the secret that it finds, over ipc://."""
        command = [sys.executable, "-m", "maitred.worker", "--pool", "general", *options, f"{HERE / 'app.py'}:service"]
        self.shell.started.append(
            subprocess.Popen(
                command, env=self.shell.environment, cwd=self.shell.directory, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
        )  # fmt: skip
        with Client(self.connection.clients[0]) as client:
            wait_for(lambda: any(row["name"] == "general" and row["total"] == 1 for row in client.pools()))

    def end(self) -> None:
        self.shell.end()


@pytest.fixture(scope="module")
def with_keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("k"), keys=True)
    done = site.shell.maitred("keys", "revoke", "gone", "--directory", str(site.keys))
    assert done.returncode == 0, done.stderr
    done = site.shell.maitred("reload")
    assert done.returncode == 0, done.stderr
    yield site
    site.end()


@pytest.fixture(scope="module")
def without_keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("o"), keys=False)
    yield site
    site.end()


@pytest.fixture(autouse=True)
def nothing_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """This process finds no key and no secret by itself."""
    monkeypatch.delenv("MAITRED_KEY", raising=False)
    monkeypatch.setenv("MAITRED_RUN_DIR", str(tmp_path / "elsewhere"))


# --- what is tried ---


def outcome(site: Site, act: str, how: int, key: str | None, secret: str = "") -> str:
    """What comes of it; `how`: 0 over ipc://, -1 over TCP."""
    path = None if key is None else site.keys / f"{key}.key"
    try:
        if act == "serve":
            serve(site.connection.workers[how], path, secret)
            return "done"
        with Client(site.connection.clients[how], key=path, connect_timeout=WITHIN_S) as client:
            return TRIED[act](client)
    except MaitredError as error:
        return str(error.code)


def call(client: Client) -> str:
    assert client.execute("general", "echo", {"message": "x"}, timeout=WITHIN_S) == {"message": "x"}
    return "done"


def operate(client: Client) -> str:
    client.operate("pause", "spare")
    client.operate("resume", "spare")
    return "done"


def read(client: Client) -> str:
    assert {row["name"] for row in client.pools()} == {"general", "other", "spare"}
    may = {"all" if not is_denied(it) else "own" for it in (client.deaths, lambda: list(client.events(follow=False)))}
    assert len(may) == 1
    return may.pop()


def is_denied(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except PermissionDenied:
        return True
    return False


TRIED: dict[str, Callable[[Client], str]] = {"call": call, "operate": operate, "read": read}


def serve(endpoint: str, path: Path | None, secret: str) -> None:
    """Register a worker of pool `general`, by hand, and leave."""
    key = read_key(path) if path is not None and endpoint.startswith("tcp://") else None
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = dealer(context, key=key, linger_ms=1000)
    refusals = HandshakeRefusals(socket, endpoint, key)
    connect(socket, endpoint)
    register = messages.Register(
        os.urandom(16), os.urandom(16), "general", 1, [messages.CommandInfo("nothing")], secret=secret
    )
    try:
        give_up = time.monotonic() + WITHIN_S
        while not socket.poll(20, zmq.POLLOUT):
            refusals.look(-1.0)
            if refusals.refusal is not None:
                raise refusals.refusal
            assert time.monotonic() < give_up
        send_message(socket, frames.encode(register))
        assert socket.poll(WITHIN_S * 1000)
        answer, _ = frames.to_worker.decode(socket.recv_multipart())
        if isinstance(answer, messages.Error):
            raise from_wire(answer.code, answer.message, {})
        assert isinstance(answer, messages.Welcome)
        send_message(socket, frames.encode(messages.Leave()))
    finally:
        refusals.close()
        socket.close()
        context.term()


# --- the tables ---


def lines(table: dict[str, dict[str, str]]) -> list[Any]:
    return [pytest.param(who, act, may[act], id=f"{who}: {act}") for who, may in table.items() for act in ACTS]


@pytest.mark.parametrize(("who", "act", "expected"), lines(WITH_KEYS))
def test_with_keys_over_tcp(with_keys: Site, who: str, act: str, expected: str) -> None:
    assert outcome(with_keys, act, -1, KEYS[who]) == expected


@pytest.mark.parametrize(("who", "act", "expected"), lines(dict.fromkeys(KEYS, OWN_USER)))
def test_with_keys_over_ipc_it_goes_by_the_user(with_keys: Site, who: str, act: str, expected: str) -> None:
    assert outcome(with_keys, act, 0, KEYS[who]) == expected


def test_who_knows_the_secret_serves_over_ipc_and_not_over_tcp(with_keys: Site) -> None:
    assert outcome(with_keys, "serve", 0, None, with_keys.connection.secret) == "done"
    assert outcome(with_keys, "serve", 0, None, "0" * 64) == "permission_denied"
    assert outcome(with_keys, "serve", -1, None, with_keys.connection.secret) == "unauthenticated"


@pytest.mark.parametrize("how", [0, -1], ids=["ipc", "tcp"])
@pytest.mark.parametrize(("who", "act", "expected"), lines(WITHOUT_KEYS))
def test_without_keys_on_this_host(
    without_keys: Site, who: str, act: str, expected: str, how: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = without_keys.connection.secret if who == "the secret" else ""
    if secret:
        monkeypatch.setenv("MAITRED_RUN_DIR", str(without_keys.run))  # where a client finds it
    if how == 0 and who != "the secret":
        expected = OWN_USER[act]
    assert outcome(without_keys, act, how, "alice" if "key" in who else None, secret) == expected


def test_a_secret_that_is_wrong_is_none(without_keys: Site) -> None:
    for secret in ("0" * 64, without_keys.connection.secret[:-1], without_keys.connection.secret + "0"):
        assert outcome(without_keys, "serve", -1, None, secret) == "permission_denied"


def test_a_key_counts_from_the_reload_on_and_as_long_as_it_is_in_the_file(with_keys: Site) -> None:
    site = with_keys
    endpoint = site.connection.clients[-1]
    site.new("late", "client", "--call", "general")
    key = site.keys / "late.key"
    with Client(endpoint, key=key) as client, pytest.raises(Unauthenticated, match="refused this key"):
        client.broker()
    assert "added: late" in reload(site)
    with Client(endpoint, key=key) as client:
        call(client)
        waiting = client.submit("general", "nap", {"seconds": 30.0})
        with Client(site.connection.clients[0]) as onlooker:
            wait_for(lambda: any(row["state"] == "running" for row in onlooker.requests()))
        assert site.shell.maitred("keys", "revoke", "late", "--directory", str(site.keys)).returncode == 0
        assert "removed: late" in reload(site)
        with pytest.raises(Unauthenticated):
            waiting.result(WITHIN_S)
        for _ in range(2):
            with pytest.raises(Unauthenticated):
                call(client)


def reload(site: Site) -> str:
    done = site.shell.maitred("reload")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_broker_that_is_told_to_end_does_so(without_keys: Site) -> None:
    without_keys.broker.terminate()
    code, errors = ended(without_keys.broker)
    assert code == 0, errors
    assert without_keys.connection.secret not in errors
