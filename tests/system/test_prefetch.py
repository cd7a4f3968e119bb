"""Requests that are sent ahead, on real processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from maitred.testing import House

APP = f"{Path(__file__).with_name('app.py')}:"

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("service", ["service", "asynchronous"])
def test_what_waits_behind_a_request_that_turned_slow_is_served_by_others(
    maitred: Callable[..., House], service: str
) -> None:
    house = maitred(f"{APP}{service}", size=2)
    command = {"service": "nap", "asynchronous": "anap"}[service]
    call = house.client.submit
    list(house.client.map("general", command, ({"seconds": 0} for _ in range(300))))
    done: list[float] = []

    def finished(_: Future[Any]) -> None:
        done.append(time.monotonic())

    began = time.monotonic()
    slow = call("general", command, {"seconds": 2})
    quick = [call("general", command, {"seconds": 0}) for _ in range(60)]
    for future in quick:
        future.add_done_callback(finished)
    for future in quick:
        assert future.result(10) == 0
    assert max(done) - began < 1, "they waited for the slow one"
    assert slow.result(10) == 2


@pytest.mark.soak
def test_what_is_recalled_runs_once_all_the_same(maitred: Callable[..., House], tmp_path: Path) -> None:
    """Slow ones among the quick, so that recalls meet answers on their way."""
    house = maitred(f"{APP}service", size=3)
    file, count = tmp_path / "lines", 100_000
    slow = {number: 0.01 + (number * 7919 % 997) / 100_000 for number in range(0, count, 250)}  # 10 to 20 ms
    args = ({"number": n, "seconds": slow.get(n, 0.0), "file": str(file)} for n in range(count))
    assert list(house.client.map("general", "mark", args)) == list(range(count))
    lines = file.read_text().split()
    assert sorted(map(int, lines)) == list(range(count)), "something ran twice"
    counts = house.client.broker()["counts"]
    assert counts.get("request.returned", 0) > 0, "nothing was recalled: this run shows nothing"
    assert "reply.unexpected" not in counts
