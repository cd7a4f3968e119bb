"""When a function that was told to stop is interrupted; time is an argument."""

from __future__ import annotations

import math

from maitred.protocol.limits import INTERRUPT_AFTER_S
from maitred.protocol.messages import Dispatch
from maitred.worker import Context
from maitred.worker.interrupt import Window
from maitred.worker.running import Run
from maitred.worker.stopping import KNOCK_AGAIN_S, Stopping

DUE = 10.0 + INTERRUPT_AFTER_S


class Door(Window):
    """Counts who knocks."""

    knocks = 0

    def knock(self) -> None:
        self.knocks += 1


def a_run(number: int = 1, *, interruptible: bool = True) -> Run:
    return Run(Dispatch(bytes(16), number, 1, "echo", 30.0), Context(), interruptible=interruptible)


def test_a_function_has_its_time_to_stop_by_itself() -> None:
    stopping, run = Stopping(door := Door()), a_run()
    stopping.told(run, 10.0)
    assert stopping.next_deadline() == DUE
    stopping.tick(DUE - 0.001)
    assert not run.overdue
    stopping.tick(DUE)
    assert run.overdue
    assert door.knocks == 1


def test_where_it_could_not_be_interrupted_it_is_tried_again_and_once_it_was_no_more() -> None:
    stopping, run = Stopping(door := Door()), a_run()
    stopping.told(run, 10.0)
    stopping.tick(DUE)
    assert stopping.next_deadline() == DUE + KNOCK_AGAIN_S
    stopping.tick(DUE + KNOCK_AGAIN_S)
    assert door.knocks == 2
    run.interrupt()
    stopping.tick(DUE + 1.0)
    assert door.knocks == 2
    assert stopping.next_deadline() == math.inf


def test_what_has_ended_is_left_alone() -> None:
    stopping, run = Stopping(door := Door()), a_run()
    stopping.told(run, 10.0)
    run.ended = True
    stopping.tick(DUE)
    assert not door.knocks
    assert stopping.next_deadline() == math.inf


def test_a_second_word_gives_it_no_more_time() -> None:
    stopping, run = Stopping(Door()), a_run()
    stopping.told(run, 10.0)
    stopping.told(run, 10.05)
    assert stopping.next_deadline() == DUE


def test_what_runs_in_the_loop_or_in_a_thread_has_only_its_flag() -> None:
    stopping = Stopping(Door())
    stopping.told(a_run(interruptible=False), 10.0)
    assert stopping.next_deadline() == math.inf


def test_each_has_its_own_time() -> None:
    stopping = Stopping(Door())
    first, second = a_run(1), a_run(2)
    stopping.told(second, 10.05)
    stopping.told(first, 10.0)
    stopping.tick(DUE)
    assert (first.overdue, second.overdue) == (True, False)
