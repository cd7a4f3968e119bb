"""`fairness` and the rival that it is measured beside: there when its block begins, gone when it is over."""

from __future__ import annotations

import pytest

from maitred.benchmarks.scenarios import fairness
from maitred.benchmarks.scenarios.common import WarmUp
from maitred.benchmarks.subjects import echo
from maitred.benchmarks.subjects.protocol import StartError
from maitred.benchmarks.subjects.registry import chosen
from maitred.benchmarks.subjects.rival import Rival, rival
from maitred.testing import running

pytestmark = pytest.mark.slow


def test_a_rival_keeps_so_many_under_way_and_leaves_none() -> None:
    with running(echo.service) as house:
        with rival(Rival(house.clients, "general", 50, task_s=0.01), house.client):
            assert house.client.broker()["requests"] >= 45
            assert house.client.pools()[0]["busy"] == 1
        assert house.client.broker()["requests"] == 0


def test_a_rival_whose_requests_find_no_room_is_said_to_be_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maitred.benchmarks.subjects.rival.FILL_TIMEOUT_S", 0.3)
    with running(echo.service) as house:
        beside = rival(Rival(house.clients, "general", 2000, task_s=1.0), house.client)
        with pytest.raises(StartError, match="did not reach the broker"), beside:
            pass


def test_a_flood_is_compared_with_a_few() -> None:
    parameters = fairness.Parameters(
        rounds=2, task_s=0.002, flood=500, seconds=0.2, warm_up=WarmUp(requests=10, seconds=0.1)
    )
    found = fairness.run(chosen("maitred", "zmq-direct"), parameters, lambda _: None)
    alone, few, flood = found.measurements
    assert [it.subject for it in found.measurements] == [
        "maitred alone",
        "maitred beside a few",
        "maitred beside a flood",
    ]
    assert alone.values["pool_per_s"] == pytest.approx(alone.values["throughput_per_s"], rel=0.05)
    assert all(it.values["pool_per_s"] > 1.5 * it.values["throughput_per_s"] for it in (few, flood))
    assert not any(it.failures for it in found.measurements)
    (ratio,) = [it for it in found.comparisons if it.figure == "p50" and it.subject == "maitred beside a flood"]
    assert (ratio.baseline, ratio.pairs) == ("maitred beside a few", 2)
    assert ratio.ratio < 20  # in order of arrival it would be at 100
    assert sum(it.is_noise for it in found.comparisons) == 2
    assert set(found.subjects) == {it.subject for it in found.measurements}
    assert [it.subject for it in found.skipped] == ["zmq-direct"]
