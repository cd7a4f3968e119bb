"""Workers that run several requests at a time, in real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from maitred.testing import House, Pool, running

APP = f"{Path(__file__).with_name('pressure_app.py')}:"
SLOTS = 3

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    settings = {"slots": SLOTS}
    with running(Pool(f"{APP}service", settings=settings), mixed=Pool(f"{APP}mixed", settings=settings)) as house:
        yield house


@pytest.mark.parametrize("pool", ["general", "mixed"])
def test_as_many_run_at_a_time_as_there_are_slots(house: House, pool: str) -> None:
    futures = [house.client.submit(pool, "meet", {"count": SLOTS}) for _ in range(4 * SLOTS)]
    assert {future.result(20) for future in futures} == {SLOTS}


def test_async_functions_take_slots_as_well(house: House) -> None:
    asleep = [house.client.submit("mixed", "abide") for _ in range(SLOTS - 1)]
    assert house.client.execute("mixed", "meet", {"count": 1}, timeout=5) == 1
    for future in asleep:
        assert future.cancel()
        assert future.wait_cancelled(5) == "interrupted"


def test_calls_from_several_threads_share_one_client(house: House) -> None:
    futures = [house.client.submit("general", "call_other", {"pool": "mixed"}) for _ in range(10 * SLOTS)]
    pid = house.client.execute("mixed", "pid")
    assert {future.result(10) for future in futures} == {pid}


def test_a_function_in_a_thread_is_stopped_by_its_flag(house: House, tmp_path: Path) -> None:
    future = house.client.submit("general", "look", {"marker": str(tmp_path / "begun")})
    while not (tmp_path / "begun").exists():
        assert house.client.execute("general", "pid") > 0, "the other slots serve meanwhile"
    assert future.cancel()
    assert future.wait_cancelled(5) == "stopped"
