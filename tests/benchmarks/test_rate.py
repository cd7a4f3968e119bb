"""`rate`: blocks whose generator was late, and a tiny run."""

from __future__ import annotations

import pytest

from maitred.benchmarks.method.load import Flow
from maitred.benchmarks.method.recorder import durations
from maitred.benchmarks.method.statistics import is_late
from maitred.benchmarks.results import Result
from maitred.benchmarks.scenarios import common, rate
from maitred.benchmarks.scenarios.common import BASELINE, Report
from maitred.benchmarks.scenarios.registry import load
from maitred.benchmarks.subjects.registry import chosen

US = 1000


def block(latency_us: int, lag_us: int) -> Flow:
    return Flow(latency=durations([latency_us * US] * 10), lag=durations([lag_us * US] * 10), began_ns=0, ended_ns=1)


def turns(**blocks: list[Flow]) -> Result:
    """What comes of these blocks, one for each round."""
    rounds = len(next(iter(blocks.values())))
    report = Report("rate", common.Parameters(rounds=rounds), lambda _: None)
    flows = {name.replace("_", "-"): iter(of_name) for name, of_name in blocks.items()}
    found = report.take_turns_at({name: lambda it=it: next(it) for name, it in flows.items()}, {"rate_per_s": 10.0})
    report.compare_latency(found, {})
    return report.result()


def test_a_block_is_late_by_more_than_a_tenth_of_its_p99() -> None:
    assert not is_late(durations([1000]), durations([100]))
    assert is_late(durations([1000]), durations([101]))
    assert not is_late(durations([1000]), durations())


def test_late_blocks_are_counted_and_neither_measured_nor_compared() -> None:
    on_time, late = block(100, 1), block(900, 800)
    found = turns(other=[on_time, late, on_time], zmq_direct=[block(50, 1)] * 3)
    other = found.measurements[0]
    assert (other.values["late_blocks"], other.void) == (1, "")
    assert other.latency is not None
    assert (other.latency.count, other.latency.max_us) == (20, 100.0)


def test_a_pair_with_a_late_block_is_none() -> None:
    assert BASELINE == "zmq-proxy"
    base = [block(50, 1)] * 6  # the baseline runs twice in a round
    report = Report("rate", common.Parameters(rounds=3), lambda _: None)
    others = iter([block(100, 1), block(900, 800), block(100, 1)])
    bases = iter(base)
    rounds = report.take_turns_at({"other": lambda: next(others), BASELINE: lambda: next(bases)}, {})
    report.compare_latency(rounds, {})
    assert [(it.figure, it.subject, it.ratio, it.pairs) for it in report.comparisons] == [
        ("p50", "other", 2.0, 2), ("p50", BASELINE, 1.0, 3), ("p99", "other", 2.0, 2), ("p99", BASELINE, 1.0, 3)
    ]  # fmt: skip


def test_with_as_many_late_blocks_as_others_it_is_void_and_compared_with_nothing() -> None:
    found = turns(other=[block(100, 1), block(900, 800)], zmq_proxy=[block(50, 1)] * 4)
    (other,) = [it for it in found.measurements if it.subject == "other"]
    assert other.void == "the load generator was late in 1 of 2 blocks"
    assert {it.subject for it in found.comparisons} == {"zmq-proxy"}


def test_it_is_about_the_asynchronous_client() -> None:
    assert load("rate").ours == "maitred-async"
    assert load("latency").ours == "maitred"


@pytest.mark.slow
def test_each_rate_is_held_and_timed() -> None:
    parameters = rate.Parameters(rounds=1, rates_per_s=(100.0, 200.0), seconds=0.2, spacing="constant")
    found = rate.run(chosen("maitred-async", "zmq-direct"), parameters, lambda _: None)
    assert [(it.subject, it.setting["rate_per_s"]) for it in found.measurements] == [
        ("maitred-async", 100.0), ("zmq-direct", 100.0), ("maitred-async", 200.0), ("zmq-direct", 200.0)
    ]  # fmt: skip
    counts = [it.latency.count for it in found.measurements if it.latency is not None]
    assert counts == [20, 20, 40, 40]
    assert all(it.lag is not None and it.lag.count for it in found.measurements)
