"""Loads and their drivers against a task that takes no time worth mention: counts, times that are due, failures."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import anyio
import pytest

from maitred.benchmarks.method.drivers import drive_async, drive_calls, drive_futures, drive_threads
from maitred.benchmarks.method.load import Flow, Load, due_ns
from maitred.benchmarks.method.pairs import take_turns
from maitred.benchmarks.method.warmup import WarmUp

Drive = Callable[[Callable[[], object], Load], Flow]


def through_futures(task: Callable[[], object], load: Load) -> Flow:
    with ThreadPoolExecutor(2) as pool:
        return drive_futures(lambda: pool.submit(task), load)


def through_threads(task: Callable[[], object], load: Load) -> Flow:
    return drive_threads([task] * load.outstanding, load)


def through_loop(task: Callable[[], object], load: Load) -> Flow:
    async def execute() -> object:
        await anyio.lowlevel.checkpoint()
        return task()

    return anyio.run(drive_async, execute, load, backend="trio")


DRIVES: list[Drive] = [drive_calls, through_futures, through_threads, through_loop]


@pytest.mark.parametrize("drive", DRIVES)
@pytest.mark.parametrize("outstanding", [1, 3])
def test_every_request_is_counted_once(drive: Drive, outstanding: int) -> None:
    flow = drive(lambda: None, Load(requests=20, outstanding=outstanding))
    assert len(flow.latency) == 20
    assert not flow.lag
    assert flow.took_s > 0
    assert flow.per_s == pytest.approx(20 / flow.took_s)


@pytest.mark.parametrize("drive", DRIVES)
def test_a_time_ends_it(drive: Drive) -> None:
    flow = drive(lambda: None, Load(seconds=0.02, outstanding=2))
    assert flow.latency
    assert flow.took_s >= 0.02


@pytest.mark.parametrize("drive", DRIVES)
def test_failures_are_kept_apart_by_name(drive: Drive) -> None:
    def fail() -> None:
        raise LookupError("no")

    flow = drive(fail, Load(requests=5, outstanding=2))
    assert {name: len(times) for name, times in flow.failed.items()} == {"LookupError": 5}
    assert isinstance(flow.errors["LookupError"], LookupError)
    assert not flow.latency


@pytest.mark.parametrize("drive", DRIVES)
def test_an_open_loop_sends_when_due_and_times_from_then(drive: Drive) -> None:
    load = Load(requests=20, rate_per_s=1000, spacing="constant", outstanding=4)
    flow = drive(lambda: None, load)
    assert len(flow.latency) == len(flow.lag) == 20
    assert flow.took_s >= 0.019
    assert all(took >= lag for took, lag in zip(sorted(flow.latency), sorted(flow.lag), strict=True))


def test_what_is_late_counts_from_when_it_was_due() -> None:
    slow: Future[None] = Future()

    def submit() -> Future[None]:
        return slow

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(drive_futures, submit, Load(requests=3, rate_per_s=1000, outstanding=1))
        slow.set_result(None)
        flow = running.result()
    assert max(flow.latency) >= max(flow.lag)


@pytest.mark.parametrize("spacing", ["constant", "poisson"])
def test_the_times_are_fixed_beforehand(spacing: str) -> None:
    load = Load(seconds=10, rate_per_s=500, spacing=spacing)  # type: ignore[arg-type]
    times = due_ns(load)
    assert times == due_ns(load)
    assert list(times) == sorted(times)
    assert len(times) == pytest.approx(5000, rel=0.1)
    assert times[-1] < 10e9


def test_a_load_has_an_end() -> None:
    with pytest.raises(ValueError, match="requests"):
        Load()
    with pytest.raises(ValueError, match="rate_per_s is 0"):
        due_ns(Load(requests=1))
    with pytest.raises(ValueError, match="outstanding is 0"):
        Load(requests=1, outstanding=0)


def test_blocks_take_turns_and_the_baseline_has_two() -> None:
    order: list[str] = []

    def block(name: str, nanoseconds: int) -> Callable[[], Flow]:
        def run() -> Flow:
            order.append(name)
            flow = Flow()
            flow.latency.append(nanoseconds)
            return flow

        return run

    rounds = take_turns({"a": block("a", 30), "base": block("base", 10)}, 2, "base")
    assert order == ["a", "base", "base", "base", "base", "a"]
    found = rounds.comparisons("p50", lambda flow: float(flow.latency[0]), {"n": 1})
    assert [(it.subject, it.ratio, it.is_noise) for it in found] == [("a", 3.0, False), ("base", 1.0, True)]
    other = rounds.comparisons("p50", lambda flow: float(flow.latency[0]), {}, baseline="a")
    assert [(it.subject, it.is_noise) for it in other] == [("base", False)]


def test_without_its_baseline_nothing_is_compared() -> None:
    rounds = take_turns({"a": Flow}, 2, "base")
    assert rounds.comparisons("p50", lambda _: 1.0, {}) == []


def test_the_warm_up_follows_its_rule_alone() -> None:
    seen: list[Load] = []

    def drive(load: Load) -> Flow:
        seen.append(load)
        flow = Flow(began_ns=0, ended_ns=100_000_000)
        flow.latency.extend([1] * 10)
        return flow

    WarmUp(requests=50, seconds=0.3).run(drive, Load(requests=1, rate_per_s=5))
    assert len(seen) == 5  # 50 requests take longer than 0.3 s
    assert {load.rate_per_s for load in seen} == {0.0}
    seen.clear()
    WarmUp(requests=1000, seconds=0.3, at_most_s=0.25).run(drive, Load(requests=1))
    assert len(seen) == 3
