"""Which answers wait for others, and for how long."""

from __future__ import annotations

from maitred.protocol.frames import Frames
from maitred.protocol.messages import Dispatch
from maitred.worker.context import Context
from maitred.worker.holding import FALL, HOLD_S, SHORT_S, Holding
from maitred.worker.running import Run

ANSWER: Frames = [b"answer"]
SHORT, LONG = SHORT_S / 2, SHORT_S * 2


def a_run(command: str = "echo") -> Run:
    context = Context(pool="general", command=command, request_id="1", attempt=1, worker_id="w", deadline=0.0)
    return Run(Dispatch(bytes(16), 1, 1, command, 1.0), context)


def test_an_answer_waits_where_what_ran_was_short() -> None:
    holding = Holding()
    assert holding.hold(a_run(), ANSWER, SHORT, 1.0)
    assert not holding.hold(a_run("slow"), ANSWER, LONG, 1.0)
    assert [run.order.command for run, _ in holding.take()] == ["echo", "slow"]
    assert not holding


def test_nothing_is_held_while_something_runs_that_is_not_known_to_be_short() -> None:
    holding = Holding()
    holding.hold(a_run(), ANSWER, SHORT, 1.0)
    assert not holding.must_go("echo", 1.0)
    assert holding.must_go("unknown", 1.0)
    holding.hold(a_run("slow"), ANSWER, LONG, 1.0)
    assert holding.must_go("slow", 1.0)


def test_the_oldest_answer_waits_no_longer_than_its_time() -> None:
    holding = Holding()
    holding.hold(a_run(), ANSWER, SHORT, 1.0)
    holding.hold(a_run(), ANSWER, SHORT, 1.0 + HOLD_S * 0.9)
    assert not holding.must_go("echo", 1.0 + HOLD_S * 0.9)
    assert holding.must_go("echo", 1.0 + HOLD_S * 1.1)
    holding.take()
    assert not holding.must_go("unknown", 9.0)


def test_a_command_that_was_slow_once_is_trusted_only_after_many_that_were_not() -> None:
    holding = Holding()
    holding.hold(a_run(), ANSWER, 100 * SHORT_S, 1.0)
    runs = 0
    while holding.must_go("echo", 1.0):
        holding.hold(a_run(), ANSWER, SHORT, 1.0)
        runs += 1
    assert runs > 4 / FALL
