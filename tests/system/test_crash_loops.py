"""A pool that crashes in a loop: it says why, recovers when its cause has gone, and costs its neighbours nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from maitred.client.errors import Unavailable
from maitred.testing import House, Pool, running

KILLING = f"{Path(__file__).with_name('killing_app.py')}:service"

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(120)]

ILL = """
from pathlib import Path
from maitred.worker import Service
service = Service()

@service.startup
def load():
    if not Path({cure!r}).exists():
        raise FileNotFoundError("the weights are missing")

@service.command
def well() -> str:
    return "well"
"""


def until(condition: Callable[[], object], patience_s: float = 30.0) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < patience_s, "it never came true"
        time.sleep(0.01)
    return time.monotonic() - began


def row(house: House, pool: str) -> dict[str, object]:
    return next(row for row in house.client.pools() if row["name"] == pool)


def test_it_says_why_and_recovers_by_itself(tmp_path: Path) -> None:
    cure = tmp_path / "weights"
    adapter = tmp_path / "ill.py"
    adapter.write_text(ILL.format(cure=str(cure)))
    settings = {"restart_backoff_s": 0.05, "restart_backoff_max_s": 0.5}
    with pytest.raises(RuntimeError, match="the weights are missing"), running(Pool(f"{adapter}:service")):
        pass
    cure.touch()
    with running(KILLING, ill=Pool(f"{adapter}:service", settings=settings)) as house:
        cure.unlink()
        house.client.operate("recycle", "ill")  # the old one stays, as none takes its place
        time.sleep(1.0)
        assert house.client.execute("ill", "well") == "well"
        (pid,) = [worker["pid"] for worker in house.client.workers() if worker["pool"] == "ill" and worker["host"]]
        house.client.operate("scale", "ill=0")
        until(lambda: pid not in [worker["pid"] for worker in house.client.workers()])
        house.client.operate("scale", "ill=1")
        until(lambda: row(house, "ill")["degraded"])
        found = row(house, "ill")
        assert not found["ready"]
        assert "the weights are missing" in str(found["reason"])
        assert "ill.py" in str(found["reason"])
        with pytest.raises(Unavailable, match="the weights are missing"):
            house.client.execute("ill", "well")
        cure.touch()
        until(lambda: row(house, "ill")["ready"])
        assert house.client.execute("ill", "well") == "well"


@pytest.mark.soak
@pytest.mark.parametrize(("calls", "bound"), [(1500, 1.5)])
def test_its_neighbours_notice_nothing(tmp_path: Path, calls: int, bound: float) -> None:
    adapter = tmp_path / "ill.py"
    adapter.write_text(ILL.format(cure=str(tmp_path / "cure")))
    ill = Pool(f"{adapter}:service", size=0)
    ratios: list[float] = []
    for _ in range(3):
        blocks: list[float] = []
        for size in (0, 2):
            (tmp_path / "cure").touch()
            pool = Pool(ill.service, size=size, limits={}, settings={})
            with running(KILLING, ill=pool) as house:
                (tmp_path / "cure").unlink()
                if size:
                    house.client.operate("scale", "ill=4")
                    until(lambda: row(house, "ill")["degraded"])
                blocks.append(p99(house, calls))
        ratios.append(blocks[1] / blocks[0])
    print("p99 beside a pool that crashes / alone:", ", ".join(f"{ratio:.2f}" for ratio in ratios))
    assert sorted(ratios)[1] < bound


def p99(house: House, calls: int) -> float:
    taken: list[float] = []
    for _ in range(calls):
        began = time.perf_counter()
        house.client.execute("general", "pid")
        taken.append(time.perf_counter() - began)
        time.sleep(0.005)
    return sorted(taken)[int(0.99 * len(taken))]
