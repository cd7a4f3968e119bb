"""What the tab key brings: the names that the running broker knows, and nothing, quickly, where there is none."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from user_shell import Shell

from maitred.cli.complete import PATIENCE_S
from maitred.testing import House, Pool, running

pytestmark = pytest.mark.slow

APP = f"{Path(__file__).parent / 'app.py'}:service"
PROGRAM = "import sys; from maitred.cli.main import main; sys.argv[0] = 'maitred'; main()"

TOLERANCE_S = 0.5
"""Of one start of the interpreter to the next, on a machine that does other things besides."""


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with running(general=Pool(APP), gpu=Pool(APP), other=Pool(APP)) as house:
        yield house


@pytest.fixture
def shell(tmp_path: Path, house: House) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    shell.environment["MAITRED_ENDPOINT"] = house.clients
    yield shell
    shell.end()


def tab(shell: Shell, typed: str) -> list[str]:
    """What zsh is offered for this line."""
    environment = shell.environment | {"_MAITRED_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": typed}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        cwd=shell.directory,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.stderr == ""
    return re.findall(r'\("?"([^":]+)"', done.stdout.replace("\n", " (")) or re.findall(r'"([^":]+)"', done.stdout)


def test_pools_and_their_commands(shell: Shell) -> None:
    for typed in ("maitred call g", "maitred map g", "maitred scale g", "maitred pause g", "maitred pools show g",
                  "maitred workers ls --pool g", "maitred recycle g", "maitred drain g"):  # fmt: skip
        assert tab(shell, typed) == ["general", "gpu"], typed
    assert tab(shell, "maitred call general ec") == ["echo"]


def test_workers_sessions_and_requests(house: House, shell: Shell) -> None:
    worker = house.client.workers()[0]["id"]
    assert tab(shell, f"maitred workers show {worker[:6]}") == [worker]
    assert tab(shell, f"maitred recycle {worker[:6]}") == [worker]
    with house.client.session("general") as session:
        for typed in ("maitred sessions show ", "maitred sessions close ", "maitred call general echo --session "):
            assert tab(shell, typed + session.id[:6]) == [session.id], typed
    future = house.client.submit("other", "nap", {"seconds": 30})
    while not (rows := house.client.requests()):
        pass
    assert tab(shell, f"maitred requests cancel {rows[0]['id'][:4]}") == [rows[0]["id"]]
    future.cancel()


def test_keys_of_the_configuration(shell: Shell) -> None:
    assert tab(shell, "maitred --set broker.cli") == ["broker.clients="]
    assert tab(shell, "maitred --set pools.gpu.memory_l") == ["pools.gpu.memory_limit="]


def test_without_a_broker_it_is_nothing_and_no_message(shell: Shell) -> None:
    shell.environment["MAITRED_ENDPOINT"] = "tcp://127.0.0.1:9"
    assert tab(shell, "maitred call g") == []
    del shell.environment["MAITRED_ENDPOINT"]
    assert tab(shell, "maitred call g") == []
    shell.environment["MAITRED_ENDPOINT"] = "nonsense"
    assert tab(shell, "maitred call g") == []


def test_a_broker_that_does_not_answer_holds_nobody_up(shell: Shell) -> None:
    began = time.monotonic()
    tab(shell, "maitred worker")
    start_s = time.monotonic() - began
    with socket.create_server(("127.0.0.1", 0)) as silent:
        shell.environment["MAITRED_ENDPOINT"] = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        assert tab(shell, "maitred call g") == []
        assert time.monotonic() - began < start_s + PATIENCE_S + TOLERANCE_S
