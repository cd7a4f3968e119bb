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
