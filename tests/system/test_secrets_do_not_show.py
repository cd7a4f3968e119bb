"""Neither a secret key nor the secret of the connection file is anywhere that somebody else might look.

A house with keys runs at the most talkative log level, is called, refuses, fails, and loses a worker; then everything that
it said, what the commands print, and what the kernel shows of its processes is searched.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest
from user_shell import ANY_PORT, Shell, ended, ready
from zmq.utils import z85

from maitred.client import Client
from maitred.client.errors import MaitredError, Unauthenticated
from maitred.config.key_file import read_key
from maitred.config.rundir import Connection, read_connection
from maitred.protocol import messages
from maitred.worker.agent_settings import AgentSettings
from maitred.worker.options import WorkerOptions

HERE = Path(__file__).parent
SECRET = "5ec4e7" * 10


@pytest.mark.parametrize(
    "value",
    [
        Connection(1, ["tcp://127.0.0.1:1"], [], 0.0, "1", SECRET),
        AgentSettings(pool="p", adapter="a:b", endpoint="tcp://h:1", size=1, secret=SECRET),
        WorkerOptions("p", "a:b", (), "tcp://h:1", b"w", secret=SECRET),
        messages.Hello(bytes(16), secret=SECRET),
        messages.Register(bytes(16), bytes(16), "p", 1, [], secret=SECRET),
        messages.Agent(bytes(16), "p", secret=SECRET),
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_repr_has_it(value: object) -> None:
    assert SECRET in msgspec.json.encode(value).decode(), "it is there"
    assert SECRET not in repr(value)
    assert SECRET not in f"{value} {[value]}"


def test_a_message_without_a_secret_says_so() -> None:
    assert repr(messages.Hello(bytes(16))).endswith("secret='')")


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    yield shell
    shell.end()


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_nothing_secret_shows(shell: Shell, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    said = [made(shell, keys, "alice", "--role", "client", "--call", "app")]
    said.append(made(shell, keys, "late", "--role", "client", "--call", "app"))
    (tmp_path / "maitred.toml").write_text(
        f'[pools.app]\nadapter = "{HERE / "app.py"}:service"\n[broker]\nkey = "{keys}/broker.key"\n'
    )
    house = shell.start("-l", "debug", *ANY_PORT, "up")
    said.append(ready(house))
    found = read_connection(tmp_path / "run")
    assert found is not None
    said += misuse(shell, keys, found)
    family = [psutil.Process(house.pid), *psutil.Process(house.pid).children(recursive=True)]
    assert len(family) >= 4, "the house, its broker, its agent, a worker"
    seen = b"".join(shown_by_the_kernel(process) for process in family)
    house.terminate()
    code, errors = ended(house)
    assert code == 0, errors
    assert "auth.refused" in errors, "somebody was refused, and the log speaks of it"
    seen += "\n".join([*said, errors]).encode() + left_behind(tmp_path / "run")
    secrets = [found.secret, *(read_key(path, needs_server=False).secret for path in keys.glob("*.key"))]
    assert all(secrets)
    for each in [*secrets, *(z85.decode(secret.encode()).hex() for secret in secrets[1:])]:
        assert each.encode() not in seen


def made(shell: Shell, keys: Path, *words: str) -> str:
    done = shell.maitred("keys", "new", *words, "--directory", str(keys))
    assert done.returncode == 0, done.stderr
    return done.stdout


def misuse(shell: Shell, keys: Path, found: Connection) -> list[str]:
    """What goes well and wrong, and what is said of it."""
    said: list[str] = []
    with Client(found.clients[-1], key=keys / "alice.key") as client:
        client.execute("app", "echo", {"message": "x"})
        for command in ("kill_itself", "no such command"):
            with pytest.raises(MaitredError) as caught:
                client.execute("app", command, {})
            said.append(repr(caught.value) + str(caught.value.details))
        with pytest.raises(MaitredError):
            client.operate("pause", "app")
    done = shell.maitred("keys", "revoke", "late", "--directory", str(keys))
    assert done.returncode == 0, done.stderr
    said.append(shell.maitred("reload").stdout)
    with Client(found.clients[-1], key=keys / "late.key") as client, pytest.raises(Unauthenticated) as refused:
        client.broker()
    said.append(repr(refused.value))
    for words in (
        ["status", "--json"], ["workers", "--dead", "--json"], ["config", "show"], ["config", "show", "--json"],
        ["keys", "list", "--json", "--directory", str(keys)], ["doctor"],
        ["--key", str(keys / "late.key"), "--endpoint", found.clients[-1], "status"],
    ):  # fmt: skip
        done = shell.maitred("-l", "debug", *words)
        said += [done.stdout, done.stderr]
    return said


def shown_by_the_kernel(process: psutil.Process) -> bytes:
    seen = b""
    for name in ("cmdline", "environ"):
        with contextlib.suppress(OSError):
            seen += Path(f"/proc/{process.pid}/{name}").read_bytes()
    return seen


def left_behind(directory: Path) -> bytes:
    """All files of the run directory but the two that hold the secret by design, and are their owner's alone."""
    seen = b""
    for path in directory.iterdir():
        if path.name in ("secret", "broker.json"):
            assert not os.stat(path).st_mode & 0o077
        elif path.is_file():
            seen += path.read_bytes()
    return seen
