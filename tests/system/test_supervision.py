"""`maitred up` as the one who watches: who dies is started again, who cannot come up holds nobody up, nobody is left."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from user_shell import ANY_PORT, Shell, ended, left, ready, wait_for

from maitred.config import load
from maitred.launcher import settings

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
APP = f'adapter = "{HERE / "app.py"}:service"\n'
BROKEN = f'adapter = "{HERE / "app.py"}:broken"\n'


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    yield shell
    shell.end()


def up(shell: Shell, pools: str, *words: str) -> subprocess.Popen[str]:
    (shell.directory / "maitred.toml").write_text(pools)
    return shell.start(*ANY_PORT, "up", *words)


def down(house: subprocess.Popen[str]) -> str:
    house.send_signal(signal.SIGTERM)
    code, errors = ended(house)
    assert code == 0, errors
    return errors


def children(house: subprocess.Popen[str], module: str) -> list[psutil.Process]:
    """The broker, or the agents, by their module."""
    return [each for each in psutil.Process(house.pid).children() if module in command(each)]


def command(process: psutil.Process) -> str:
    """Its command line; empty where it has ended, as the ones do that try an import."""
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def answers(shell: Shell) -> Any:
    done = shell.maitred("call", "app", "pid", "--timeout", "5s")
    return done.returncode == 0 and json.loads(done.stdout)


@pytest.mark.parametrize("busy", [None, "hold_interpreter", "nap"])
def test_kill_9_of_up_leaves_nobody(shell: Shell, busy: str | None) -> None:
    house = up(shell, "[pools.app]\nsize = 2\n" + APP)
    ready(house)
    if busy:
        shell.start("call", "app", busy, '{"seconds": 25}')
        wait_for(lambda: any(row["state"] == "busy" for row in shell.json("workers", "--json")))
    family = psutil.Process(house.pid).children(recursive=True)
    assert len(family) >= 5, "broker, agent, fork server, two workers"
    house.kill()
    assert not left(family, 2.0), "somebody is left"


@pytest.mark.soak
def test_kill_9_of_up_leaves_nobody_a_hundred_times(shell: Shell) -> None:
    for turn in range(100):
        house = up(shell, "[pools.app]\nsize = 2\n" + APP)
        ready(house)
        if turn % 2:
            shell.start("call", "app", "hold_interpreter", '{"seconds": 25}')
            wait_for(lambda: any(row["state"] == "busy" for row in shell.json("workers", "--json")))
        family = psutil.Process(house.pid).children(recursive=True)
        house.kill()
        assert not left(family, 2.0), f"somebody is left in turn {turn}"
        house.wait()
        shell.end()


def test_the_broker_comes_back_to_its_ports_however_often_it_dies(shell: Shell) -> None:
    house = up(shell, "[pools.app]\n" + APP)
    said = ready(house)
    pid = answers(shell)
    for _ in range(3):
        (broker,) = children(house, "maitred.broker.process")
        broker.kill()
        wait_for(lambda: not broker.is_running() and (shell.directory / "run" / "broker.json").exists())  # noqa: B023
        assert wait_for(lambda: answers(shell)) == pid, "the workers are the same"
    running = json.loads((shell.directory / "run" / "broker.json").read_text())
    assert running["clients"][-1] in said
    errors = down(house)
    assert "the broker ended with SIGKILL; started again at once" in errors
    assert errors.count("the broker ended with SIGKILL") == 3
    assert "started again in" in errors, "who dies again and again waits"


def test_an_agent_that_dies_takes_its_workers_along_and_comes_back(shell: Shell) -> None:
    house = up(shell, "[pools.app]\n" + APP)
    ready(house)
    before = answers(shell)
    children(house, "maitred.worker.agent")[0].kill()
    wait_for(lambda: not psutil.pid_exists(before))
    assert wait_for(lambda: answers(shell)) != before
    assert "the agent of pool 'app' ended with SIGKILL; started again at once" in down(house)


def test_a_stop_is_obeyed_while_the_broker_does_not_come_up(shell: Shell) -> None:
    house = up(shell, "[pools.app]\n" + APP)
    ready(house)
    (broker,) = children(house, "maitred.broker.process")
    run = shell.directory / "run"
    run.chmod(0o755)  # a directory that others may enter: no broker starts in it
    broker.kill()
    assert house.stderr is not None
    while "did not come up" not in (line := house.stderr.readline()):
        assert line
    assert answers(shell) is False
    began = time.monotonic()
    down(house)
    assert time.monotonic() - began < 15


def test_the_broker_comes_back_when_what_kept_it_is_gone(shell: Shell) -> None:
    house = up(shell, "[pools.app]\n" + APP)
    ready(house)
    run = shell.directory / "run"
    run.chmod(0o755)
    children(house, "maitred.broker.process")[0].kill()
    assert house.stderr is not None
    while "did not come up" not in (line := house.stderr.readline()):
        assert line
    run.chmod(0o700)
    assert wait_for(lambda: answers(shell))
    down(house)


def test_a_pool_that_cannot_come_up_holds_nobody_up(shell: Shell) -> None:
    house = up(shell, "[pools.app]\n" + APP + "[pools.ill]\n" + BROKEN)
    began = time.monotonic()
    said = ready(house)
    assert time.monotonic() - began < 30
    assert "pools: app 1, ill 0 of 1 (degraded: " in said
    assert "the model file is missing" in said
    assert answers(shell)
    assert "the model file is missing" in shell.maitred("status").stdout
    code = shell.maitred(*ANY_PORT, "doctor")
    assert code.returncode == 1
    assert "'ill' is degraded" in code.stdout
    down(house)


def test_a_pool_that_may_be_empty_has_its_agent(shell: Shell) -> None:
    house = up(shell, "[pools.app]\nsize = { min = 0, max = 2 }\n" + APP + "[pools.off]\nsize = 0\n" + APP)
    assert "pools: app 0, off 0" in ready(house)
    assert len(children(house, "maitred.worker.agent")) == 1, "a pool that is switched off has none"
    down(house)


def test_a_broker_that_dies_before_all_is_ready_is_no_end(shell: Shell) -> None:
    house = up(shell, f'[pools.app]\nadapter = "{HERE / "app.py"}:slow_to_load"\n')
    wait_for(lambda: children(house, "maitred.worker.agent"))
    children(house, "maitred.broker.process")[0].kill()
    assert "app 1" in ready(house)
    assert answers(shell)
    down(house)


def test_reload_is_told_to_the_agents(shell: Shell) -> None:
    (shell.directory / "maitred.toml").write_text("[pools.app]\n" + APP)
    config = load(shell.directory / "maitred.toml")
    assert settings.of_agent(config, "app", "ipc:///w", None, parent=None, reload=True).reload
    assert "--reload" in shell.maitred("up", "--help").stdout
    house = shell.start(*ANY_PORT, "up", "--reload")
    ready(house)
    down(house)
