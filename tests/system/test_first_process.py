"""maitred as the first process of a container: in a process namespace of its own, where the kernel asks more of it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from user_shell import ANY_PORT, Shell, lives, wait_for

from maitred.client import Client
from maitred.config.rundir import read_connection

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

APP = f"{Path(__file__).with_name('app.py')}:service"
ALONE = ["unshare", "--pid", "--mount-proc", "--fork", "--kill-child"]


def may_be_alone() -> bool:
    try:
        return subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


pytestmark.append(
    pytest.mark.skipif(not may_be_alone(), reason="only root, on Linux, can make a process namespace here")
)


class Container:
    """One, and its first process as it is seen from outside."""

    def __init__(self, shell: Shell, *words: str) -> None:
        self.outer = subprocess.Popen(
            [*ALONE, sys.executable, "-m", "maitred.cli", *words],
            env=shell.environment, cwd=shell.directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        shell.started.append(self.outer)
        (self.first,) = wait_for(psutil.Process(self.outer.pid).children)

    def ready(self) -> str:
        assert self.outer.stdout is not None
        return self.outer.stdout.readline()

    def others(self) -> list[psutil.Process]:
        return self.first.children(recursive=True)

    def running(self, what: str) -> list[psutil.Process]:
        """Those in whose command line it stands; who ends meanwhile is none."""
        found: list[psutil.Process] = []
        for process in self.others():
            with contextlib.suppress(psutil.NoSuchProcess):
                if what in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def zombies(self) -> list[psutil.Process]:
        found: list[psutil.Process] = []
        for process in self.others():
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.status() == psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def run(self, line: str) -> None:
        """As `docker exec` does."""
        subprocess.run(["nsenter", "--pid", "--mount", "-t", str(self.first.pid), "sh", "-c", line], check=True)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    (tmp_path / "maitred.toml").write_text(f'[pools.app]\nadapter = "{APP}"\nsize = 1\n')
    yield shell
    shell.end()


def test_it_drains_at_sigterm_and_nobody_stays_behind(shell: Shell) -> None:
    container = Container(shell, *ANY_PORT, "up")
    assert "maitred ready" in container.ready()
    everybody = [container.first, *container.others()]
    assert len(everybody) >= 5  # it and who serves, a broker, an agent, its fork server and a worker
    call = subprocess.Popen(
        [sys.executable, "-m", "maitred.cli", "call", "app", "nap", '{"seconds": 2}'],
        env=shell.environment, cwd=shell.directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    shell.started.append(call)
    found = read_connection(shell.directory / "run")
    assert found is not None
    with Client(found.clients[0]) as client:  # quicker than a command, which may take as long as the call
        wait_for(lambda: any(row["busy"] for row in client.pools()))
    container.first.send_signal(signal.SIGTERM)
    _, errors = container.outer.communicate(timeout=40)
    assert container.outer.returncode == 0, errors
    _, said = call.communicate(timeout=20)
    assert call.returncode == 0, said
    assert not [process for process in everybody if process.is_running()]


def test_orphans_are_asked_for_their_exit_code(shell: Shell) -> None:
    container = Container(shell, *ANY_PORT, "up")
    container.ready()
    container.run("sleep 0.2 & sleep 0.3 &")
    wait_for(lambda: not container.running("sleep"))
    agent = container.running("maitred.worker.agent")[0]
    agent.kill()  # its fork server and its worker end with it, and have no parent then
    wait_for(lambda: not lives(agent))
    wait_for(lambda: not container.zombies())
    wait_for(lambda: shell.maitred("call", "app", "pid").returncode == 0)  # refused where no agent is back yet
    container.first.send_signal(signal.SIGTERM)
    _, errors = container.outer.communicate(timeout=40)
    assert container.outer.returncode == 0, errors


def test_a_signal_that_comes_before_anything_serves_is_not_lost(shell: Shell) -> None:
    """The kernel would drop it, as the first process has no handler for it yet."""
    late = "import time, maitred.cli.first_process as f; f.serve_in_a_child(); print('in', flush=True); time.sleep(60)"
    outer = subprocess.Popen(
        [*ALONE, sys.executable, "-c", late], env=shell.environment, stdout=subprocess.PIPE, text=True
    )
    shell.started.append(outer)
    assert outer.stdout is not None
    assert outer.stdout.readline() == "in\n"
    (first,) = psutil.Process(outer.pid).children()
    first.send_signal(signal.SIGTERM)
    assert outer.wait(20) == 128 + signal.SIGTERM


def test_its_exit_code_is_that_of_who_serves(shell: Shell) -> None:
    container = Container(shell, "call", "app", "pid")
    _, errors = container.outer.communicate(timeout=20)
    assert container.outer.returncode == 3, errors
