"""`returns`: how callers wait, the figures of crowds made by hand, and a tiny run."""

from __future__ import annotations

import random

import pytest

from maitred.benchmarks.method.load import Flow
from maitred.benchmarks.scenarios import returns
from maitred.benchmarks.scenarios.registry import load
from maitred.benchmarks.scenarios.returns import until_served, waiting
from maitred.benchmarks.scenarios.returns_figures import Block, Came, figures, lateness
from maitred.benchmarks.subjects.registry import chosen
from maitred.client.errors import PoolSaturated, Unavailable
from maitred.client.places import Place, kept

MS = 1_000_000


def full(retry_after: float | None = None) -> PoolSaturated:
    return PoolSaturated("full", **({} if retry_after is None else {"retry_after": retry_after}))


def block(*came: Came, seconds: float = 1.0) -> Block:
    return Block(Flow(began_ns=0, ended_ns=int(seconds * 1e9)), list(came), 4.0)


def test_who_does_as_told_waits_so_long_and_a_second_where_nothing_is_said() -> None:
    told = waiting("told", random.Random(1))
    assert [told(full(0.25), 1), told(full(), 2)] == [0.25, 1.0]


def test_who_goes_by_a_rule_of_its_own_throws_its_place_away() -> None:
    for wait in ("fixed", "backoff"):
        kept.set((Place(None, "general", "echo", 1, 1e9),))
        waiting(wait, random.Random(1))(full(0.25), 1)  # type: ignore[arg-type]
        assert kept.get() is None


def test_a_back_off_doubles_what_it_draws_from_up_to_a_longest() -> None:
    backoff = waiting("backoff", random.Random(1))
    longest = [max(backoff(full(0.25), refusals) for _ in range(300)) for refusals in (1, 2, 3, 30)]
    assert longest == [pytest.approx(most, rel=0.05) for most in (0.1, 0.2, 0.4, 10.0)]
    assert min(backoff(full(), 30) for _ in range(300)) < 0.5


async def test_a_caller_comes_back_until_it_is_served() -> None:
    outcomes: list[Exception | None] = [full(0.0), full(0.0), None]
    came: list[Came] = []

    async def execute() -> None:
        outcome = outcomes.pop(0)
        if outcome is not None:
            raise outcome

    await until_served(execute, lambda _, refusals: 0.001 * refusals, came.append)
    assert (came[0].refusals, came[0].waited_s) == (2, pytest.approx(0.003))
    assert came[0].late_ns >= 0


async def test_another_error_is_a_failure() -> None:
    async def execute() -> None:
        raise Unavailable("leaving")

    with pytest.raises(Unavailable):
        await until_served(execute, lambda _, __: 0.0, lambda _: None)


def test_the_first_return_counts_among_those_who_were_refused() -> None:
    came = [
        Came(0, 0.0, 0, 100 * MS),
        Came(1, 0.5, MS, 900 * MS),
        Came(1, 0.7, 0, 1200 * MS),
        Came(4, 2.0, 0, 2000 * MS),
    ]
    found = figures([block(*came, seconds=2.0)], 1.0)
    assert found["refused_share"] == 0.75
    assert found["first_return_share"] == pytest.approx(2 / 3, abs=1e-4)
    assert found["calls_per_caller"] == 2.5
    assert found["of_capacity_share"] == 0.5  # two were served while callers arrived
    assert (found["waited_p50_ms"], found["all_served_s"]) == (700.0, 2.0)


def test_where_nobody_was_refused_nobody_returned() -> None:
    assert "first_return_share" not in figures([block(Came(0, 0.0, 0, MS))], 1.0)
    assert lateness([block(Came(0, 0.0, 0, MS))]) == ""


def test_who_comes_back_late_is_no_test_of_what_it_was_told() -> None:
    assert lateness([block(Came(1, 0.1, 10 * MS, MS))]) == ""
    assert "late" in lateness([block(Came(1, 0.1, 11 * MS, MS))])


def test_its_callers_are_tasks() -> None:
    assert load("returns").ours == "maitred-async"


@pytest.mark.slow
def test_who_is_told_finds_room_and_the_others_are_measured_beside() -> None:
    parameters = returns.Parameters(
        task_s=0.01, max_queue=6, load=2.0, seconds=0.6, capacity_s=0.6, waits=("told", "backoff")
    )
    found = returns.run(chosen("maitred,maitred-asyncio", "zmq-direct"), parameters, lambda _: None)
    told, backoff = found.measurements
    assert (told.setting["wait"], backoff.setting["wait"]) == ("told", "backoff")
    assert told.values["first_return_share"] > backoff.values["first_return_share"]
    assert told.latency is not None
    assert told.latency.count > 50
    assert (told.failures, backoff.failures) == ({}, {})
    assert [it.subject for it in found.skipped] == ["maitred", "zmq-direct"]
