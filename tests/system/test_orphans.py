"""Whatever is killed, nobody stays behind: not the workers, and not what they have started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from maitred.client.errors import MaitredError
from maitred.testing import House, Pool

APP = f"{Path(__file__).with_name('orphans_app.py')}:service"

GONE_WITHIN_S = 2.0
"""What is promised."""

pytestmark = pytest.mark.slow


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until(condition: Callable[[], Any], patience_s: float) -> None:
    give_up_at = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < give_up_at, "it never came true"
        time.sleep(0.005)


def all_gone(pids: list[int], patience_s: float = GONE_WITHIN_S) -> None:
    try:
        until(lambda: not any(map(alive, pids)), patience_s)
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def family_of(house: House, *, mark: bool = True) -> list[int]:
    """A worker, and what it has started; the agent's other descendants, too."""
    started = house.client.execute("general", "family", {"mark": mark}, timeout=30)
    agent = psutil.Process(house.agents["general"].pid)
    return sorted({*started, *(process.pid for process in agent.children(recursive=True))})


def hold(house: House) -> threading.Thread:
    """Have a worker keep the interpreter, from now on."""
    begun = threading.Event()

    def run() -> None:
        with contextlib.suppress(MaitredError):
            for _ in house.client.stream("general", "hold", {"seconds": 60}, timeout=20):
                begun.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert begun.wait(20)
    return thread


@pytest.mark.parametrize("held", [False, True])
def test_an_agent_that_is_killed_takes_all_along(maitred: Callable[..., House], held: bool) -> None:
    house = maitred(APP)
    family = family_of(house)
    thread = hold(house) if held else None
    house.agents["general"].kill()
    all_gone(family)
    house.broker.kill()
    if thread is not None:
        thread.join(30)


def test_in_the_group_they_need_no_mark(maitred: Callable[..., House]) -> None:
    house = maitred(APP)
    family = family_of(house, mark=False)
    house.agents["general"].kill()
    all_gone(family)


def test_an_agent_that_ends_in_good_order_leaves_nobody(maitred: Callable[..., House]) -> None:
    house = maitred(APP)
    family = family_of(house)
    house.agents["general"].terminate()
    assert house.agents["general"].wait(30) == 0
    all_gone(family, 0.1)


def test_a_worker_that_is_killed_takes_its_group_along(maitred: Callable[..., House]) -> None:
    house = maitred(APP)
    worker, group, *_ = house.client.execute("general", "family", {"mark": True})
    os.kill(worker, signal.SIGKILL)
    all_gone([worker, group])


def test_so_do_all_of_a_fork_server_that_is_killed(maitred: Callable[..., House]) -> None:
    house = maitred(Pool(APP, size=2))
    worker, group, *_ = house.client.execute("general", "family", {"mark": True})
    server = psutil.Process(worker).ppid()
    os.kill(server, signal.SIGKILL)
    all_gone([server, worker, group])
    house.wait_ready()


def test_a_terminals_interrupt_reaches_the_agent_only_which_lets_them_finish(maitred: Callable[..., House]) -> None:
    house = maitred(APP)
    parts = house.client.stream("general", "nap", {"seconds": 0.3}, timeout=30)
    assert next(parts) == "begun"
    os.killpg(house.agents["general"].pid, signal.SIGINT)
    assert next(parts) == "slept"
    parts.close()
    assert house.agents["general"].wait(30) == 0


KEEPER = """
import os, sys, time
from maitred.testing import running
with running({app!r}) as house:
    family = house.client.execute("general", "family", {{"mark": True}})
    print(*family, house.broker.pid, house.agents["general"].pid, flush=True)
    time.sleep(600)
"""


def test_who_started_it_all_is_killed() -> None:
    process = subprocess.Popen([sys.executable, "-c", KEEPER.format(app=APP)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    family = [int(pid) for pid in process.stdout.readline().split()]
    assert len(family) == 6
    process.kill()
    process.communicate()
    all_gone(family)


@pytest.mark.soak
@pytest.mark.parametrize("whom", ["agent", "server"])
def test_a_hundred_times(maitred: Callable[..., House], whom: str) -> None:
    for _ in range(100):
        house = maitred(Pool(APP, size=2))
        family = family_of(house)
        worker = next(row["pid"] for row in house.client.workers())
        server = psutil.Process(worker).ppid()
        if whom == "server":
            os.kill(server, signal.SIGKILL)
            until(lambda: not alive(server), GONE_WITHIN_S)  # noqa: B023
            house.wait_ready()
        house.agents["general"].kill()
        all_gone(family)
        house.close()
