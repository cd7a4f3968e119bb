"""Several functions at a time: as many as there are slots, in threads and in the loop, and streams from both."""

from __future__ import annotations

import pytest
from worker_peers import CLIENT, Broker, asynchronous, began, begun, run, service


def test_so_many_functions_run_at_a_time_as_there_are_slots_and_no_more() -> None:
    def script(broker: Broker) -> None:
        for number in range(4):
            broker.dispatch(number, "meet", {"count": 3})
        assert broker.answers(1)
        broker.answers(3)

    def too_many(broker: Broker) -> None:
        for number in range(4):
            broker.dispatch(number, "meet", {"count": 4}, timeout=0.1)
        for _ in range(3):
            began()
        assert not begun.acquire(timeout=0.03), "a fourth one runs"
        answers = broker.answers(4)
        assert {answer[0] for answer in answers.values() if isinstance(answer, tuple)} == {"deadline_exceeded"}

    run("trio", service, script, slots=3)
    run("trio", service, too_many, slots=3)


def test_async_functions_take_slots_as_well() -> None:
    def script(broker: Broker) -> None:
        for number in range(3):
            broker.dispatch(number, "hang")
        for _ in range(2):
            began()
        assert not begun.acquire(timeout=0.03), "a third one runs"
        for number in range(3):
            broker.cancel(number)
        assert [answer[0] for answer in broker.answers(3).values()] == ["cancelled"] * 3

    run("trio", asynchronous, script, slots=2)


@pytest.mark.parametrize(("loop", "slots"), [("plain", 1), ("trio", 1), ("trio", 2)])
def test_a_stream_is_under_its_readers_credit(loop: str, slots: int) -> None:
    def script(broker: Broker) -> None:
        broker.dispatch(1, "count", {"n": 4}, window=2)
        assert [broker.receive()[1] for _ in range(2)] == [0, 1]
        assert broker.is_silent(0.02)
        broker.grant(1, 2)
        assert [broker.receive()[1] for _ in range(3)] == [2, 3, None]

    run(loop, service, script, slots=slots)


def test_a_function_in_a_thread_is_told_by_its_flag_and_streams_under_credit() -> None:
    def script(broker: Broker) -> None:
        broker.dispatch(1, "look")
        broker.dispatch(2, "parts", {"hangs": False}, window=1)
        began()
        began()
        broker.cancel(1)
        broker.cancel(2)
        answers = broker.answers(2)
        assert [answers[n][1] for n in (1, 2)] == [{"outcome": "stopped"}] * 2

    run("trio", service, script, slots=2)


def test_one_that_waits_for_its_turn_is_named_as_held_when_the_worker_registers_again() -> None:
    """What is not named is taken for lost."""

    def script(broker: Broker) -> None:
        for number in (1, 2):
            broker.dispatch(number, "hang")
        began()
        broker.stranger()
        assert broker.register is not None
        assert broker.register.holds == [(CLIENT, 1), (CLIENT, 2)]
        broker.cancel(2)
        broker.cancel(1)
        assert [answer[0] for answer in broker.answers(2).values()] == ["cancelled"] * 2

    run("trio", asynchronous, script)
