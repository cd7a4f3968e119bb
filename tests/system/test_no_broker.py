"""Every command that talks to a broker, where there is none: one line, the address that was tried, exit code 3, at once."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from scripted_broker import free_endpoint
from user_shell import Shell

from maitred.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.alone]

WITHIN_S = 1.0
"""A command takes no longer, with the start of the interpreter."""

BEYOND_START_S = 0.5
"""Where the machine is busy with other things an interpreter alone may take as long: then what comes after it counts."""

PATIENCE_S = 0.5
"""What an address that says nothing is given here; by default it is more."""

SOME = 4
"""Commands that are tried whenever tests are run; the others in the long runs."""

TRIES = 4
"""The quickest of so many counts: other tests run beside this one."""

COMMANDS = [
    ["status"],
    ["top"],
    ["top", "--once"],
    ["events"],
    ["events", "--follow", "worker.*"],
    ["dashboard"],
    ["call", "general", "echo"],
    ["call", "general", "echo", "--stream"],
    ["map", "general", "echo"],
    ["pools"],
    ["pools", "show", "general"],
    ["workers", "ls"],
    ["workers", "--dead"],
    ["workers", "show", "0a"],
    ["workers", "--watch", "1"],
    ["requests", "--json"],
    ["requests", "show", "0a"],
    ["requests", "cancel", "0a-1"],
    ["sessions"],
    ["sessions", "show", "0a"],
    ["sessions", "close", "0a"],
    ["quarantine"],
    ["quarantine", "show", "0a"],
    ["quarantine", "release", "all"],
    ["scale", "general", "2"],
    ["recycle", "general"],
    ["drain"],
    ["pause", "general"],
    ["resume"],
    ["reload"],
]

ALONE = {"up", "broker", "pool", "doctor", "bench", "config", "keys"}
"""Commands that need no broker, or (pool) go on until there is one."""


EACH = [words if place < SOME else pytest.param(words, marks=pytest.mark.soak) for place, words in enumerate(COMMANDS)]
"""All of them take minutes: they come by one way to the broker, and the first ones show that it is that way."""


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    yield shell
    shell.end()


@pytest.fixture
def silent() -> Iterator[str]:
    """A black hole: nobody takes the connections, and the system answers none that does not fit in its queue."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for each in (first, second):
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"


def test_no_command_is_forgotten() -> None:
    names = {command.name or command.callback.__name__ for command in main.app.registered_commands if command.callback}
    names |= {str(group.name) for group in main.app.registered_groups}
    assert names == ALONE | {words[0] for words in COMMANDS}


def start_s(shell: Shell) -> float:
    """What a command takes just now that asks nobody."""
    began = time.monotonic()
    assert shell.maitred("--version").returncode == 0
    return time.monotonic() - began


def took(shell: Shell, *words: str, within_s: float = WITHIN_S) -> str:
    """Its one line, once it came in time."""
    found: list[float] = []
    for _ in range(TRIES):
        began = time.monotonic()
        done = shell.maitred(*words, text="")
        found.append(time.monotonic() - began)
        assert (done.returncode, done.stdout) == (3, ""), done.stderr
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert "maitred up" in done.stderr
        if found[-1] < within_s or found[-1] - start_s(shell) < within_s - BEYOND_START_S:
            return done.stderr
    raise AssertionError(f"it took {found} s")


@pytest.mark.parametrize("words", EACH, ids=" ".join)
def test_no_connection_file(shell: Shell, words: list[str]) -> None:
    line = took(shell, *words)
    assert str(shell.directory / "run") in line
    assert "--endpoint" in line


@pytest.mark.parametrize("words", EACH, ids=" ".join)
def test_a_dead_endpoint(shell: Shell, words: list[str]) -> None:
    endpoint = free_endpoint()
    assert f"no broker at {endpoint}: nobody listens there" in took(shell, "--endpoint", endpoint, *words)


@pytest.mark.parametrize("words", EACH, ids=" ".join)
def test_an_address_that_says_nothing(shell: Shell, silent: str, words: list[str]) -> None:
    line = took(
        shell, "--endpoint", silent, "--connect-timeout", f"{PATIENCE_S}s", *words, within_s=WITHIN_S + PATIENCE_S
    )
    assert silent in line


def test_other_ways_to_say_where(shell: Shell) -> None:
    nowhere = f"ipc://{shell.directory / 'nobody.ipc'}"
    shell.environment["MAITRED_ENDPOINT"] = nowhere
    assert nowhere in took(shell, "status")
    del shell.environment["MAITRED_ENDPOINT"]
    endpoint = free_endpoint()
    (shell.directory / "maitred.toml").write_text(f'[broker]\nclients = "{endpoint}"\n')
    assert endpoint in took(shell, "-c", "maitred.toml", "status")


def test_a_name_that_is_no_hosts(shell: Shell) -> None:
    done = shell.maitred("--endpoint", "tcp://no-such-host.invalid:5750", "status")
    assert done.returncode == 3
    assert "no host of that name is known" in done.stderr


def test_what_is_no_endpoint_and_no_time_is_wrong_usage(shell: Shell) -> None:
    for words, said in (
        (["--endpoint", "somewhere", "status"], "'somewhere' is no endpoint"),
        (["--connect-timeout", "soon", "status"], "--connect-timeout"),
        (["workers", "--watch", "never"], "--watch"),
        (["workers", "--watch", "0"], "--watch"),
    ):
        done = shell.maitred(*words)
        assert done.returncode == 2, words
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1
