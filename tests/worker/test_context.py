"""What a running function sees of its request, its time and other pools."""

from __future__ import annotations

import logging
import pickle
import threading
from typing import Any

import pytest

from maitred.worker.context import Cancelled, Context


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_defaults_are_those_of_a_unit_test() -> None:
    context = Context()
    assert (context.deadline, context.remaining, context.cancelled, context.attempt) == (None, None, False, 1)
    context.check_cancelled()


def test_the_deadline() -> None:
    clock = Clock()
    context = Context(deadline=103.0, clock=clock)
    assert context.remaining == 3.0
    clock.now = 103.0
    assert (context.remaining, context.cancelled, context.cancel_reason) == (0.0, True, "deadline")
    with pytest.raises(Cancelled, match="deadline"):
        context.check_cancelled()


def test_the_first_reason_stays() -> None:
    context = Context(deadline=0.0)
    context.cancel("client_lost")
    context.cancel("cancelled")
    with pytest.raises(Cancelled) as caught:
        context.check_cancelled()
    assert caught.value.reason == "client_lost"


def test_cancelled_passes_through_except_exception() -> None:
    assert not issubclass(Cancelled, Exception)
    assert pickle.loads(pickle.dumps(Cancelled("deadline"))).reason == "deadline"


def test_sleep_ends_in_time_or_with_the_deadline() -> None:
    Context().sleep(0)
    with pytest.raises(Cancelled, match="deadline"):
        Context(deadline=0.0).sleep(60)


def test_sleep_is_woken_from_another_thread() -> None:
    context = Context()
    caught: list[str] = []
    began = threading.Event()

    def work() -> None:
        began.set()
        try:
            context.sleep(60)
        except Cancelled as error:
            caught.append(error.reason)

    thread = threading.Thread(target=work)
    thread.start()
    began.wait(5)
    context.cancel("deadline")
    thread.join(5)
    assert caught == ["deadline"]


@pytest.mark.parametrize(
    ("deadline", "timeout", "budget"),
    [(None, None, None), (None, 5, 5), (107.0, None, 7.0), (107.0, 5, 5), (107.0, 9, 7)],
)
def test_a_nested_call_inherits_the_deadline(
    deadline: float | None, timeout: float | None, budget: float | None
) -> None:
    calls: list[Any] = []
    context = Context(deadline=deadline, clock=Clock(), caller=lambda *call: calls.append(call) or "result")
    assert context.call("neural", "embed", {"text": "a"}, timeout=timeout) == "result"
    assert calls == [("neural", "embed", {"text": "a"}, budget, None)]


def test_no_nested_call_after_the_end() -> None:
    context = Context(caller=lambda *call: pytest.fail("called"))
    context.cancel()
    with pytest.raises(Cancelled):
        context.call(None, "embed")


async def test_acall() -> None:
    async def caller(*call: Any) -> Any:
        return call

    context = Context(acaller=caller)
    assert await context.acall(None, "embed", timeout=2) == (None, "embed", None, 2, None)
    with pytest.raises(RuntimeError, match=r"use await context\.acall"):
        context.call(None, "embed")
    with pytest.raises(RuntimeError, match=r"use context\.call"):
        await Context(caller=lambda *call: None).acall(None, "embed")
    with pytest.raises(RuntimeError, match="connected to no broker"):
        Context().call(None, "embed")


def test_the_log_carries_the_request(caplog: pytest.LogCaptureFixture) -> None:
    context = Context(pool="general", command="echo", request_id="r1", attempt=2, worker_id="w1")
    with caplog.at_level(logging.INFO):
        context.log.info("hello")
    (record,) = caplog.records
    assert record.name == "maitred.worker.general"
    assert (record.command, record.request_id, record.attempt, record.worker_id) == ("echo", "r1", 2, "w1")  # type: ignore[attr-defined]
    assert context.log is context.log
