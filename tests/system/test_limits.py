"""Memory limits on running pools, in each mode that this machine has: the cause is told, and the neighbours go on."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from maitred.client.errors import WorkerLost
from maitred.testing import House, Pool, running
from maitred.worker import memory

APP = f"{Path(__file__).with_name('killing_app.py')}:service"
MIB = 1 << 20
LIMIT = 256 * MIB

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(120)]


@pytest.fixture(params=["cgroup2", "cgroup1", "polling"])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(memory.MODE_VARIABLE, request.param)
    keeper = memory.keeper(LIMIT, "test")
    keeper.close()
    if keeper.mode != request.param:
        pytest.skip(keeper.why)
    return request.param


def limited(size: int = 2) -> Pool:
    return Pool(APP, size=size, settings={"memory_limit_bytes": LIMIT}, limits={"quarantine_after": 100})


def row(house: House) -> dict[str, object]:
    return house.client.pools()[0]


def test_who_takes_too_much_is_replaced_and_its_caller_told(mode: str) -> None:
    with running(limited(1)) as house:
        assert row(house)["memory"] == mode
        with pytest.raises(WorkerLost) as caught:
            house.client.execute("general", "take", {"mib": 2000, "seconds": 4.0})
        certificate = caught.value.certificate
        assert caught.value.cause == "oom", certificate
        assert certificate["memory_limit"] == LIMIT
        assert 0.8 * LIMIT < certificate["memory"] < 4 * LIMIT
        assert house.client.execute("general", "pid", timeout=20)


def test_who_comes_near_the_limit_is_replaced_after_its_request(mode: str) -> None:
    with running(limited(1)) as house:
        pid = house.client.execute("general", "pid")
        near = int(0.95 * LIMIT / MIB) - 30  # what an idle worker has of its own is not much less
        taken = 0
        while house.client.execute("general", "pid") == pid:
            assert taken < 40, "it was never replaced"
            house.client.execute("general", "take", {"mib": near if not taken else 2, "seconds": 0.3, "keep": True})
            taken += 1
            time.sleep(0.5)
        assert all(found["cause"] == "recycle" for found in house.client.deaths())


@pytest.mark.soak
@pytest.mark.parametrize(("pairs", "bound"), [(7, 1.5)])
def test_its_neighbours_notice_nothing(mode: str, pairs: int, bound: float) -> None:
    """Pairs of equal blocks, one after the other: on two cores the p99 of one block differs twofold from the next."""
    with running(neighbours=limited(1), general=limited(1)) as house, ThreadPoolExecutor(1) as other:
        ratios: list[float] = []
        for number in range(pairs):
            alone = p99(house)
            hungry = other.submit(house.client.execute, "general", "take", {"mib": 2000 + number, "seconds": 16.0})
            ratios.append(p99(house) / alone)
            with pytest.raises(WorkerLost, match="oom"):
                hungry.result(40)
            assert house.client.execute("general", "pid", timeout=20)
        print(f"{mode}: p99 beside a worker that is killed for its memory / alone:", *(f"{it:.2f}" for it in ratios))
        assert sorted(ratios)[pairs // 2] < bound


def p99(house: House) -> float:
    """Of calls to another worker, for four seconds."""
    taken: list[float] = []
    for _ in range(400):
        began = time.perf_counter()
        house.client.execute("neighbours", "pid")
        taken.append(time.perf_counter() - began)
        time.sleep(0.008)
    return sorted(taken)[int(0.99 * len(taken))]
