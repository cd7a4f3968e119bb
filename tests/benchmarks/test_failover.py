"""`failover`: what is made of one kill's requests, and a run with a kill of each kind."""

from __future__ import annotations

from typing import Any, cast

import pytest
from msgspec.structs import replace

from maitred.benchmarks.method.load import Flow
from maitred.benchmarks.method.timeline import Ended
from maitred.benchmarks.method.warmup import WarmUp
from maitred.benchmarks.report.page import render
from maitred.benchmarks.results import Measurement, Result
from maitred.benchmarks.scenarios import failover
from maitred.benchmarks.scenarios.failover import Killed
from maitred.benchmarks.scenarios.killing import Kill, kill_worker
from maitred.benchmarks.subjects.registry import chosen
from maitred.client import Client

MS = 1_000_000

KILLED = Killed(
    Flow(),
    [
        Ended(980 * MS, 990 * MS, None),
        Ended(985 * MS, 1_004 * MS, LookupError()),
        Ended(990 * MS, 1_030 * MS, None),
        Ended(995 * MS, 1_020 * MS, None),
        Ended(1_090 * MS, 1_100 * MS, None),
    ],
    Kill(pid=1, killed_ns=1_000 * MS, replaced_ns=1_018 * MS),
)


def test_times_count_from_the_kill() -> None:
    assert KILLED.errors_ns() == [4 * MS]
    assert KILLED.next_success_ns() == [20 * MS]
    assert Killed(Flow(), KILLED.ended[:2], KILLED.kill).next_success_ns() == []


def test_a_request_belongs_to_the_stretch_in_which_it_ended() -> None:
    assert KILLED.served_ns(-0.3, 0.0) == [10 * MS]
    assert KILLED.served_ns(0.0, 0.025) == [25 * MS]
    assert KILLED.served_ns(0.025, 0.1) == [40 * MS]
    assert KILLED.served_ns(0.1, 0.25) == [10 * MS]


class NoWorkers:
    """The client of a house whose pool has none."""

    def workers(self) -> list[dict[str, Any]]:
        return [{"pid": 1, "state": "starting"}]


def test_without_a_worker_there_is_nothing_to_kill() -> None:
    with pytest.raises(RuntimeError, match="no worker to kill"):
        kill_worker(cast("Client", NoWorkers()))


@pytest.mark.slow
def test_a_kill_costs_one_request_or_none_where_they_may_run_twice() -> None:
    parameters = failover.Parameters(
        rounds=2, workers=(1,), task_s=0.02, load=0.9, before_s=0.2, after_s=0.4, warm_up=WarmUp(requests=2, seconds=0.05)
    )  # fmt: skip
    found = failover.run(chosen(peers="zmq-proxy"), parameters, lambda _: None)
    assert [it.subject for it in found.skipped] == ["zmq-proxy"]
    rows = {(str(it.setting["idempotent"]), str(it.setting["part"])): it for it in found.measurements}
    assert rows["yes", "kill to error seen"].failures == {}
    assert rows["no", "kill to error seen"].failures.keys() <= {"WorkerLost"}
    assert rows["no", "kill to error seen"].values["lost_per_kill"] <= 1.0
    for idempotent in ("yes", "no"):
        assert count(rows[idempotent, "kill to next success"]) == 2
        assert count(rows[idempotent, "kill to all workers there"]) == 2
        assert rows[idempotent, "requests before"].values["goodput_per_s"] > 0
    assert "maitred, requests before" in render([longer(found)])  # all parts in one plot


def longer(found: Result) -> Result:
    """The same, as if it had lasted long enough to be plotted."""
    rows = [replace(it, latency=replace(it.latency, count=100)) for it in found.measurements if it.latency is not None]
    return replace(found, measurements=rows)


def count(row: Measurement) -> int:
    return 0 if row.latency is None else row.latency.count
