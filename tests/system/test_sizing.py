"""Pools of changing size on real processes: a burst, the quiet after it, and load that comes and goes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from maitred.client.errors import InvalidArgument
from maitred.testing import House, Pool, running

APP = f"{Path(__file__).with_name('killing_app.py')}:"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

TASK_S = 0.05


def elastic(least: int, most: int, down_after_s: float, cooldown_s: float = 0.5) -> Pool:
    limits = {"scale_up_after_s": 0.2, "scale_down_after_s": down_after_s, "scale_cooldown_s": cooldown_s}
    bounds = {"least": least, "most": most}
    return Pool(f"{APP}service", size=least, max_queue=100_000, settings=bounds, limits=limits)


def size(house: House) -> int:
    return sum(row["state"] in ("idle", "busy") for row in house.client.workers())


def until_size(house: House, wanted: int, patience_s: float) -> float:
    began = time.monotonic()
    while (now := size(house)) != wanted:
        assert time.monotonic() - began < patience_s, f"{now} workers, not {wanted}: {house.client.pools()}"
        time.sleep(0.01)
    return time.monotonic() - began


def burst(house: House, count: int) -> list[Any]:
    return [house.client.submit("general", "nap", {"seconds": TASK_S}, timeout=100) for _ in range(count)]


def test_a_burst_makes_a_pool_grow_and_the_quiet_after_it_shrink() -> None:
    with running(elastic(1, 4, down_after_s=2.0)) as house:
        futures = burst(house, 400)
        grown_s = until_size(house, 4, 5.0)
        assert [future.result() for future in futures] == [TASK_S] * 400
        shrunk_s = until_size(house, 1, 2.0 + 3 * 0.5 + 5.0)
        assert house.client.execute("general", "nap", {"seconds": 0.0}) == 0.0
        print(f"four workers after {grown_s:.2f} s, one again {shrunk_s:.2f} s after the last answer")
        assert not any(row["cause"] != "drain" for row in house.client.deaths())


def test_nobody_asks_for_a_size_out_of_bounds() -> None:
    with running(elastic(1, 2, down_after_s=60.0)) as house:
        with pytest.raises(InvalidArgument, match="1"):
            house.client.operate("scale", "general=0")
        house.client.operate("scale", "general=2")
        until_size(house, 2, 10.0)


def test_a_pool_of_no_workers_starts_one_for_a_request() -> None:
    pool = elastic(0, 2, down_after_s=2.0)  # longer than a start takes, or none is ever seen
    sleepy = Pool(pool.service, size=1, settings=pool.settings, limits=pool.limits)
    with running(f"{APP}service", sleepy=sleepy) as house:
        began = time.monotonic()
        while (row := next(row for row in house.client.pools() if row["name"] == "sleepy"))["total"]:
            assert time.monotonic() - began < 10
            time.sleep(0.02)
        assert row["ready"]
        assert house.client.execute("sleepy", "nap", {"seconds": 0.0}, timeout=20) == 0.0


@pytest.mark.parametrize(
    ("period_s", "periods"), [(1.5, 6), pytest.param(10.0, 60, marks=[pytest.mark.soak, pytest.mark.timeout(900)])]
)
def test_load_that_comes_and_goes_does_not_make_it_oscillate(period_s: float, periods: int) -> None:
    with running(elastic(1, 4, down_after_s=3 * period_s)) as house:
        busy: list[Any] = []
        for _ in range(periods):
            busy += burst(house, int(0.6 * period_s * 4 / TASK_S))
            time.sleep(period_s)
        assert [future.result() for future in busy] == [TASK_S] * len(busy)
        resized = house.client.broker()["counts"]["pool.resized"]
        print(f"{resized} changes of size in {periods} periods")
        assert size(house) >= 2
        assert resized <= 4, "it grew and shrank with each wave"
