"""`depth`: a core that keeps its depth, and a tiny run of both halves."""

from __future__ import annotations

import gc

import pytest

from maitred.benchmarks.method.processor import is_known
from maitred.benchmarks.scenarios import depth
from maitred.benchmarks.scenarios.depth_of_core import CoreAtDepth
from maitred.benchmarks.subjects.registry import chosen


def test_a_core_is_as_deep_after_a_block_as_before() -> None:
    core = CoreAtDepth(7, b"x")
    for _ in range(2):
        assert core.spend(20) > 0
        assert core.waiting == 7
    assert gc.isenabled()


@pytest.mark.slow
@pytest.mark.skipif(not is_known(), reason="this kernel does not count processor time by thread")
def test_each_depth_is_held_against_the_first() -> None:
    parameters = depth.Parameters(rounds=1, depths=(10, 300), seconds=0.2, core_requests=50, core_rounds=3)
    found = depth.run(chosen("maitred", "zmq-direct"), parameters, lambda _: None)
    assert [(it.setting["part"], it.setting["depth"]) for it in found.measurements] == [
        ("process", 10), ("process", 300), ("core", 10), ("core", 300)
    ]  # fmt: skip
    assert all(it.values["request_us"] > 0 for it in found.measurements)
    assert [it.values["served"] for it in found.measurements[2:]] == [150, 150]
    assert found.measurements[1].values["waiting"] > 200
    assert [(it.subject, it.baseline, it.pairs) for it in found.comparisons] == [
        ("300 waiting", "10 waiting", 1), ("300 waiting", "10 waiting", 3)
    ]  # fmt: skip
    assert [it.subject for it in found.skipped] == ["zmq-direct"]


@pytest.mark.slow
def test_without_rounds_the_core_is_left_out_and_without_us_there_is_nothing() -> None:
    parameters = depth.Parameters(rounds=1, depths=(5,), seconds=0.1, core_rounds=0)
    assert {it.setting["part"] for it in depth.run(chosen("maitred", "none"), parameters, print).measurements} <= {
        "process"
    }
    assert depth.run(chosen("zmq-direct", "none"), parameters, print).measurements == []
