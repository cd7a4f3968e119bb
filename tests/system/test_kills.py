"""Workers killed by the hundred, under load: nothing lost, nothing twice, full size again, and the callers know at once.

The bounds are those of a quiet machine where the test is a soak, and loose where it runs with all the others.
"""

from __future__ import annotations

import os
import queue
import random
import signal
import statistics
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from maitred.client.errors import MaitredError, WorkerLost
from maitred.testing import House, Pool, running

APP = f"{Path(__file__).with_name('killing_app.py')}:"

pytestmark = [pytest.mark.slow, pytest.mark.alone]

TASK_S = 0.01
CALLERS = 16


class Load:
    """Callers that call one after another; every second request may be run again."""

    def __init__(self, house: House, file: Path) -> None:
        self.outcomes: dict[int, list[Any]] = {}
        self._house, self._file = house, file
        self._numbers = iter(range(10**9))
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(CALLERS)]
        for thread in self._threads:
            thread.start()

    def _call(self) -> None:
        while not self._end.is_set():
            with self._lock:
                number = next(self._numbers)
            command = "again" if number % 2 else "once"
            args = {"number": number, "seconds": TASK_S, "file": str(self._file)}
            try:
                outcome: Any = self._house.client.execute("general", command, args, timeout=60)
            except MaitredError as error:
                outcome = error
            self.outcomes.setdefault(number, []).append(outcome)

    def end(self) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(70)
            assert not thread.is_alive(), "a request was never answered"

    def judge(self) -> Counter[str]:
        """Every request has one answer; those that may be run again worked, the others ran at most once."""
        ran = Counter(int(line) for line in self._file.read_text().split())
        found: Counter[str] = Counter()
        for number, outcomes in self.outcomes.items():
            assert len(outcomes) == 1
            found[type(outcomes[0]).__name__] += 1
            if number % 2:
                assert outcomes[0] == number
            else:
                assert ran[number] <= 1
                assert outcomes[0] == number or isinstance(outcomes[0], WorkerLost)
        return found


def storm(house: House, kills: int, every_s: float, at_once: int, draw: random.Random) -> int:
    """Kill, of those that are there; returns how many were."""
    killed = 0
    while killed < kills:
        rows = [row["pid"] for row in house.client.workers() if row["pid"] and row["state"] != "starting"]
        for pid in draw.sample(rows, min(at_once, len(rows))):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            killed += 1
        time.sleep(every_s)
    return killed


def until_full(house: House, size: int, patience_s: float) -> float:
    began = time.monotonic()
    while sum(row["state"] in ("idle", "busy") for row in house.client.workers()) < size:
        assert time.monotonic() - began < patience_s, house.client.pools()
        time.sleep(0.005)
    return time.monotonic() - began


@pytest.mark.parametrize(
    ("kills", "every_s", "at_once", "full_s"),
    [
        (50, 0.1, 1, 10.0),
        pytest.param(60, 0.025, 2, 2.0, marks=pytest.mark.soak, id="30 rounds of two, every 25 ms"),
        pytest.param(1000, 0.1, 1, 2.0, marks=pytest.mark.soak, id="1000"),
    ],
)
@pytest.mark.timeout(400)
def test_nothing_is_lost_or_run_twice(tmp_path: Path, kills: int, every_s: float, at_once: int, full_s: float) -> None:
    pool = Pool(f"{APP}service", size=8, max_attempts=50, limits={"quarantine_after": 50})
    with running(pool) as house:
        load = Load(house, tmp_path / "ran")
        try:
            storm(house, kills, every_s, at_once, random.Random(kills))
            took_s = until_full(house, 8, full_s)
        finally:
            load.end()
        found = load.judge()
        print(f"full size after {took_s * 1000:.0f} ms; {dict(found)}")
        assert found["int"] > kills


@pytest.mark.parametrize(("times", "p99_s"), [(20, 1.0), pytest.param(300, 0.05, marks=pytest.mark.soak)])
@pytest.mark.timeout(400)
def test_callers_of_a_killed_worker_know_at_once(times: int, p99_s: float) -> None:
    with (
        running(Pool(f"{APP}service", size=2)) as house,
        ThreadPoolExecutor(1) as caller,
        ThreadPoolExecutor(1) as other,
    ):
        callers = (caller, other)
        delays: list[float] = []
        for number in range(times):
            begun: queue.SimpleQueue[int] = queue.SimpleQueue()
            call = caller.submit(told_at, house, 15.0 + number / 1000, begun)  # each another: none has killed before
            pid = begun.get(timeout=20)
            killed_at = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            delays.append(call.result(20) - killed_at)
            until_full(house, 2, 10)
            both = [caller.submit(house.client.execute, "general", "nap", {"seconds": 0.01}) for caller in callers]
            assert [one.result(20) for one in both] == [0.01, 0.01]  # who has served is replaced at once
        delays.sort()
        print(f"p50 {statistics.median(delays) * 1000:.1f} ms, max {delays[-1] * 1000:.1f} ms")
        assert delays[min(len(delays) - 1, int(len(delays) * 0.99))] < p99_s


def told_at(house: House, seconds: float, begun: queue.SimpleQueue[int]) -> float:
    try:
        for pid in house.client.stream("general", "begin", {"seconds": seconds}, timeout=20):
            begun.put(pid)
    except WorkerLost:
        return time.monotonic()
    raise AssertionError("it survived")


@pytest.mark.parametrize(("times", "each_s"), [(3, 5.0), pytest.param(30, 0.5, marks=pytest.mark.soak)])
def test_a_replacement_with_a_heavy_library_serves_soon(times: int, each_s: float) -> None:
    pytest.importorskip("sklearn")
    with running(f"{APP}preloading") as house:
        taken: list[float] = []
        for _ in range(times):
            pid = house.client.execute("general", "pid")
            began = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            assert house.client.execute("general", "pid") != pid
            taken.append(time.monotonic() - began)
        print(f"p50 {statistics.median(taken) * 1000:.0f} ms, max {max(taken) * 1000:.0f} ms")
        assert max(taken) < each_s


@pytest.mark.soak
@pytest.mark.timeout(200)
def test_a_minute_with_the_interpreter_held_is_no_death() -> None:
    with running(f"{APP}service", broker={"heartbeat_interval_s": 0.2, "heartbeat_liveness": 2}) as house:
        pid = house.client.execute("general", "pid")
        assert house.client.execute("general", "hold_interpreter", {"seconds": 60}, timeout=120) == "held"
        assert house.client.execute("general", "pid") == pid
        assert house.client.broker()["counts"].get("worker.died", 0) == 0
