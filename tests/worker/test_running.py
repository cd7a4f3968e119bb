"""What the control thread does to a request, whichever comes first."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from maitred.protocol.messages import Dispatch
from maitred.protocol.worker import Held
from maitred.worker.context import Cancelled, Context
from maitred.worker.running import Run, Running

CLIENT = bytes(16)


def a_run(window: int = 0) -> Run:
    return Run(Dispatch(CLIENT, 1, 1, "echo", 30.0, window), Context())


def test_a_cancel_that_overtook_its_request_finds_it() -> None:
    running = Running(Held())
    running.cancel((CLIENT, 1), "cancelled")
    run = a_run()
    running.begin(run)
    assert run.context.cancel_reason == "cancelled"


def test_a_cancel_reaches_a_request_that_runs_and_only_that_one() -> None:
    running = Running(Held())
    run = a_run()
    running.begin(run)
    assert running.cancel((CLIENT, 2), "cancelled") is None
    assert not run.context.cancelled
    assert running.cancel((CLIENT, 1), "client_lost") is run
    assert run.context.cancel_reason == "client_lost"
    running.end(run)
    assert run.ended
    assert running.cancel((CLIENT, 1), "cancelled") is None


def test_what_has_run_for_longest_is_told() -> None:
    running = Running(Held())
    first, second = a_run(), Run(Dispatch(CLIENT, 2, 1, "echo", 30.0), Context())
    for run in (first, second):
        running.begin(run)
    assert running.longest(10.0) is None, "neither has begun"
    second.began_at = 7.0
    assert running.longest(10.0) == ((CLIENT, 2), 3.0)
    first.began_at = 4.0
    assert running.longest(10.0) == ((CLIENT, 1), 6.0)
    running.end(first)
    assert running.longest(10.0) == ((CLIENT, 2), 3.0)


def test_an_exception_that_was_raised_in_it_is_the_outcome_and_has_the_reason() -> None:
    run = a_run()
    assert run.outcome == "stopped"
    run.context.cancel("operator")
    assert run.interrupt().reason == "operator"
    assert run.outcome == "interrupted"


def test_a_grant_that_overtook_its_request_counts() -> None:
    running = Running(Held())
    running.grant((CLIENT, 1), 2)
    run = a_run(window=1)
    running.begin(run)
    assert [run.credit.take_now() for _ in range(4)] == [True, True, True, False]


def test_who_waits_for_credit_is_woken_by_a_grant_and_by_a_cancel() -> None:
    running = Running(Held())
    run = a_run(window=1)
    running.begin(run)
    run.credit.take(run.context)
    threading.Timer(0.01, running.grant, ((CLIENT, 1), 1)).start()
    run.credit.take(run.context)
    threading.Timer(0.01, running.cancel, ((CLIENT, 1), "cancelled")).start()
    with pytest.raises(Cancelled):
        run.credit.take(run.context)


def test_what_is_answered_is_held_no_more() -> None:
    running = Running(Held())
    run = a_run()
    running.begin(run)
    assert running.held.keys() == [(CLIENT, 1)]
    running.end(run)
    assert running.held.keys() == []


def test_a_wake_up_that_meets_the_end_of_a_nested_call_is_harmless() -> None:
    """The control thread looks at `on_change` while the function's thread takes it away."""

    class Fleeting(Run):
        @property
        def on_change(self) -> Callable[[], object] | None:  # pyright: ignore[reportIncompatibleVariableOverride]
            found, self._found = self._found, None
            return found

        @on_change.setter
        def on_change(self, value: Callable[[], object] | None) -> None:
            self._found = value

    run = Fleeting(Dispatch(CLIENT, 1, 1, "echo", 30.0), Context())
    woken: list[int] = []
    run.on_change = lambda: woken.append(1)
    run.changed()
    assert woken == [1]


def test_what_was_not_begun_is_given_back_and_never_begun() -> None:
    running = Running(Held())
    told: list[int] = []
    running.recall((CLIENT, 1), 1, lambda: told.append(1))
    running.recall((CLIENT, 1), 1, lambda: told.append(2))
    assert told == [1, 2], "the first word may have been lost"
    assert not running.begin(a_run())
    assert running.held.keys() == []


def test_the_next_attempt_of_what_was_given_back_is_begun() -> None:
    running = Running(Held())
    running.recall((CLIENT, 1), 1, lambda: None)
    again = Run(Dispatch(CLIENT, 1, 2, "echo", 30.0), Context())
    assert running.begin(again)


def test_what_was_begun_is_not_given_back() -> None:
    running = Running(Held())
    running.begin(a_run())
    running.recall((CLIENT, 1), 1, lambda: pytest.fail("it runs"))


def test_what_was_answered_is_not_given_back_although_the_answer_may_still_be_on_its_way() -> None:
    running = Running(Held())
    for number in (1, 2):
        run = Run(Dispatch(CLIENT, number, 1, "echo", 30.0), Context())
        running.begin(run)
        running.end(run)
    for number in (1, 2):
        running.recall((CLIENT, number), 1, lambda: pytest.fail("it was run"))


def test_what_could_not_be_told_is_not_given_back() -> None:
    def fail() -> None:
        raise OSError

    running = Running(Held())
    with pytest.raises(OSError):  # noqa: PT011 - the test's own
        running.recall((CLIENT, 1), 1, fail)
    assert running.begin(a_run())
