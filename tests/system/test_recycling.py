"""Workers that are replaced while callers call: no request fails, and there are never fewer than there are to be."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maitred.client import Client
from maitred.client.errors import MaitredError, WorkerLost
from maitred.testing import House, Pool

APP = f"{Path(__file__).with_name('recycling_app.py')}:service"
MIB = 1 << 20

pytestmark = pytest.mark.slow


def until(condition: Callable[[], Any], patience_s: float = 40.0) -> Any:
    give_up_at = time.monotonic() + patience_s
    while not (it := condition()):
        assert time.monotonic() < give_up_at, "it never came true"
        time.sleep(0.01)
    return it


class Load:
    """Callers, each of which calls again and again; who answered, and what went wrong."""

    def __init__(self, house: House, callers: int = 4, command: str = "pid") -> None:
        self.answered = 0
        self._command = command
        self.pids: set[int] = set()
        self.errors: list[MaitredError] = []
        self.fewest = 1 << 30
        self._house = house
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(callers)]
        self._threads.append(threading.Thread(target=self._count))

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def rate(self, seconds: float) -> float:
        """Answers a second in the next seconds; a few may be lost to the count, as threads share it."""
        before, began = self.answered, time.monotonic()
        time.sleep(seconds)
        return (self.answered - before) / (time.monotonic() - began)

    def _call(self) -> None:
        with Client(self._house.clients) as client:
            while not self._over.is_set():
                try:
                    self.pids.add(client.execute("general", self._command, timeout=30))
                    self.answered += 1
                except MaitredError as error:
                    self.errors.append(error)

    def _count(self) -> None:
        with Client(self._house.clients) as client:
            while not self._over.is_set():
                (row,) = client.pools()
                self.fewest = min(self.fewest, row["available"] + row["busy"])


def test_a_pool_that_is_recycled_under_load(maitred: Callable[..., House]) -> None:
    house = maitred(Pool(APP, size=3))
    old = {row["pid"] for row in house.client.workers()}
    with Load(house) as load:
        house.client.operate("recycle", "general")
        until(lambda: len(house.client.deaths()) == 3)
        until(lambda: len(load.pids - old) == 3)
    assert load.errors == []
    assert load.fewest >= 3
    assert [(row["cause"], row["exit_code"]) for row in house.client.deaths()] == [("operator", 0)] * 3


@pytest.mark.soak
def test_its_rate_stays(maitred: Callable[..., House]) -> None:
    """Of naps, as on a machine of few cores what a start computes is taken from what the others compute."""
    house = maitred(Pool(APP, size=4, settings={"threads_per_worker": 1}))
    count = 4
    with Load(house, 8, "rest") as load:
        time.sleep(2)
        alone, recycled = load.rate(5.0), [0.0] * count
        for turn in range(count):
            before = len(house.client.deaths())
            house.client.operate("recycle", "general")
            recycled[turn] = load.rate(5.0)
            until(lambda: len(house.client.deaths()) == before + 4)  # noqa: B023
    print(f"{alone:.0f} a second, {', '.join(f'{rate:.0f}' for rate in recycled)} while all four workers were replaced")
    assert load.errors == []
    assert sorted(recycled)[count // 2] > 0.9 * alone


def test_workers_that_have_answered_enough_are_replaced_again_and_again(maitred: Callable[..., House]) -> None:
    house = maitred(Pool(APP, size=2, settings={"recycle_requests": 20}))
    with Load(house) as load:
        until(lambda: len(house.client.deaths()) >= 4)
    assert load.errors == []
    assert load.fewest >= 2
    assert {row["cause"] for row in house.client.deaths()} == {"recycle"}


def test_a_worker_close_to_its_memory_limit_is_replaced_and_one_beyond_it_is_killed(
    maitred: Callable[..., House],
) -> None:
    limit = 600 * MIB  # replaced from 540 on
    house = maitred(Pool(APP, settings={"memory_limit_bytes": limit}))
    first = house.client.execute("general", "take", {"megabytes": 580 - _resident_mib(house)}, timeout=30)
    until(lambda: house.client.execute("general", "pid") != first)
    until(lambda: [row["cause"] for row in house.client.deaths()] == ["recycle"])
    with pytest.raises(WorkerLost) as caught:
        house.client.execute("general", "take", {"megabytes": 3000}, timeout=30)
    assert caught.value.cause == "oom"
    assert caught.value.certificate["memory_limit"] == limit
    assert house.client.execute("general", "pid", timeout=30) != first


def _resident_mib(house: House) -> int:
    """What a new worker has, pages of files included, which the limit leaves out: some 30."""
    return until(lambda: house.client.workers()[0]["rss"]) // MIB


def test_new_code_in_production(maitred: Callable[..., House], tmp_path: Path) -> None:
    adapter = tmp_path / "release.py"
    head = "from maitred.worker import Service\nservice = Service()\n@service.command('pid')\n"
    text = head + "def version() -> int:\n    return {}\n"
    adapter.write_text(text.format(1))
    house = maitred(Pool(f"{adapter}:service", size=2))
    with Load(house) as load:
        until(lambda: load.pids == {1})
        adapter.write_text(text.format(2))
        house.client.operate("recycle", "general")
        until(lambda: len(house.client.deaths()) == 2)
    assert load.errors == []
    assert house.client.execute("general", "pid") == 2


def test_a_spare_one_serves_when_a_worker_is_killed(maitred: Callable[..., House]) -> None:
    house = maitred(Pool(APP, settings={"warm_spares": 1}))
    for _ in range(3):
        pid = house.client.execute("general", "pid", timeout=30)
        spare = until(lambda: [r["pid"] for r in house.client.workers() if r["state"] == "spare" and r["rss"]])[0]
        assert spare != pid
        os.kill(pid, signal.SIGKILL)
        until(lambda: house.client.execute("general", "pid", timeout=30) != pid)  # noqa: B023
    assert len({row["pid"] for row in house.client.deaths()}) == 3
