"""Who ends what workers leave: the reaper, and the sweep of the next agent."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from agent_peers import Broker, agent, gone

from maitred.worker.reaper import MARK, mark, sweep

pytestmark = pytest.mark.slow

ADAPTER = """
import subprocess, sys
from maitred.worker import Service
service = Service()

@service.startup
def load() -> None:
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    pids = [subprocess.Popen(sleeper).pid, subprocess.Popen(sleeper, start_new_session=True).pid]
    with open({file!r}, "a") as file:
        print(*pids, file=file)

@service.command
def ping() -> str:
    return "pong"
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    it = Broker(tmp_path)
    (tmp_path / "adapter.py").write_text(ADAPTER.format(file=str(tmp_path / "pids")))
    yield it
    it.close()


def left(tmp_path: Path) -> list[int]:
    return [int(pid) for pid in (tmp_path / "pids").read_text().split()]


def reaper_of(pid: int) -> psutil.Process:
    return next(child for child in psutil.Process(pid).children() if "reaper.py" in " ".join(child.cmdline()))


def test_it_outlives_the_agent_just_long_enough(broker: Broker, tmp_path: Path) -> None:
    with agent(broker, f"{tmp_path}/adapter.py:service") as process:
        broker.ready(1)
        reaper = reaper_of(process.pid)
        process.kill()
        broker.until(lambda: gone(*left(tmp_path)))
        broker.until(lambda: gone(reaper.pid))


def test_when_it_was_killed_too_the_next_agent_sweeps(broker: Broker, tmp_path: Path) -> None:
    with agent(broker, f"{tmp_path}/adapter.py:service") as process:
        broker.ready(1)
        reaper_of(process.pid).kill()
        process.kill()
        orphans = left(tmp_path)
        broker.until(lambda: gone(process.pid))
    assert not gone(*orphans)
    broker.registered.clear()
    with agent(broker, f"{tmp_path}/adapter.py:service"):
        broker.ready(1)
        assert gone(*orphans)


def test_a_killed_one_is_replaced_with_all_that_it_knew(broker: Broker, tmp_path: Path) -> None:
    with agent(broker, f"{tmp_path}/adapter.py:service", 2) as process:
        one, _ = broker.ready(2)
        first = reaper_of(process.pid)
        first.kill()
        broker.until(lambda: gone(first.pid))
        os.kill(broker.registered[one], signal.SIGKILL)
        broker.until(lambda: broker.died(one))
        broker.ready(2)
        orphans = left(tmp_path)
        process.kill()
        broker.until(lambda: gone(*orphans))


@contextlib.contextmanager
def sleeper(its_mark: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); import time; time.sleep(600)"],
        stdout=subprocess.PIPE,
        env=os.environ | {MARK: its_mark},
    )
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_sweep_is_only_of_the_same_instance_and_of_agents_that_are_gone() -> None:
    own = mark("general", "ipc:///run/test-sweep/workers.ipc")
    pid, started, instance = own.split(" ", 2)
    dead = f"{pid} {int(started) + 1} {instance}"  # another process, which had this one's number
    with sleeper(own) as alive, sleeper(f"{dead}x") as elsewhere, sleeper(dead) as orphan, sleeper("nonsense") as odd:
        assert sweep(own) == 1
        assert orphan.wait(10) == -signal.SIGKILL
        assert [process.poll() for process in (alive, elsewhere, odd)] == [None] * 3
