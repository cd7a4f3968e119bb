"""How running functions are stopped, in both loops with their control thread."""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from typing import Any

import pytest
from worker_peers import AFTER_S, Broker, asynchronous, began, log, run, service

from maitred.worker import Service, stopping

both = pytest.mark.parametrize("loop", ["plain", "trio"])


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "INTERRUPT_AFTER_S", AFTER_S)


@pytest.mark.parametrize(
    ("loop", "service", "command", "outcome"),
    [
        ("plain", service, "look", "stopped"),
        ("trio", service, "look", "stopped"),
        ("plain", service, "hang", "interrupted"),
        ("trio", service, "hang", "interrupted"),
        ("trio", asynchronous, "look", "stopped"),
        ("trio", asynchronous, "hang", "interrupted"),
        ("trio", asynchronous, "hang_plainly", "interrupted"),
    ],
)
def test_a_running_function_is_stopped_and_the_answer_says_how(
    loop: str, service: Service, command: str, outcome: str
) -> None:
    def script(broker: Broker) -> None:
        for number, (reason, code, details, why) in enumerate(
            [
                ("cancelled", "cancelled", {"outcome": outcome}, "as its caller asked"),
                ("operator", "cancelled", {"outcome": outcome}, "as an operator asked"),
                ("deadline", "deadline_exceeded", {"where": "running"}, "as its time was over"),
                ("client_lost", "cancelled", {"outcome": outcome}, "as its client is gone"),
            ]
        ):
            broker.dispatch(number, command)
            began()
            at = time.monotonic()
            broker.cancel(number, reason)
            told = broker.answers(1)[number]
            assert told[:2] == (code, details)
            assert told[2].endswith(why)
            if outcome == "interrupted" and not service.commands[command].is_async:
                assert time.monotonic() - at >= AFTER_S

    run(loop, service, script)


@both
def test_who_swallows_it_answers_with_a_value(loop: str) -> None:
    def script(broker: Broker) -> None:
        broker.dispatch(1, "swallow")
        began()
        broker.cancel(1, "operator")
        assert broker.answers(1) == {1: "stopped because of operator"}

    run(loop, service, script)


@both
@pytest.mark.parametrize(("hangs", "outcome"), [(True, "interrupted"), (False, "stopped")])
def test_a_stream_is_stopped_in_a_part_or_between_two(loop: str, hangs: bool, outcome: str) -> None:
    def script(broker: Broker) -> None:
        broker.dispatch(1, "parts", {"hangs": hangs}, window=8)
        began()
        broker.cancel(1)
        assert broker.answers(1)[1][1] == {"outcome": outcome}
        assert log == ["closed"]

    run(loop, service, script)


@both
def test_what_has_no_time_left_when_it_comes_is_not_begun(loop: str) -> None:
    """`due` is a time of this clock; without it the time counts from arrival."""

    def script(broker: Broker) -> None:
        broker.dispatch(1, "hang", timeout=30.0, due=time.monotonic() - 0.001)
        broker.dispatch(2, "hang", timeout=0.0)
        broker.cancel(3)
        broker.dispatch(3, "hang", timeout=30.0, due=time.monotonic() + 30)
        broker.batch("embed", [{"text": "a", "hangs": True}] * 2, first=4)
        broker.cancel(4)
        broker.cancel(5)
        answers = broker.answers(5)
        for number in (1, 2):
            assert answers[number][:2] == ("deadline_exceeded", {"where": "queued"})
        assert answers[3][:2] in [("cancelled", {"outcome": o}) for o in ("removed", "interrupted")]

    run(loop, service, script)


@both
@pytest.mark.slow
def test_thousands_of_short_requests_and_cancels_that_race_them(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has one answer, and only what was told to stop is stopped."""
    monkeypatch.setattr(stopping, "INTERRUPT_AFTER_S", 0.0)
    monkeypatch.setattr(stopping, "KNOCK_AGAIN_S", 0.0)
    count, ahead = 2000, 4
    choose = random.Random(1)

    def script(broker: Broker) -> None:
        found: dict[int, Any] = {}
        told: set[int] = set()
        for number in range(count):
            broker.dispatch(number, "short", {"number": number})
            if number >= ahead:
                found |= broker.answers(1)
            if number >= ahead and number % 2:
                other = number - ahead + choose.randrange(3)  # the last one answered, the one that runs, the next
                time.sleep(choose.random() / 2000)
                told.add(other)
                broker.cancel(other)
        found |= broker.answers(count - len(found))
        for number, answer in found.items():
            assert answer == number or (number in told and answer[0] == "cancelled"), (number, answer)
        ends = Counter(answer[1]["outcome"] for answer in found.values() if isinstance(answer, tuple))
        assert ends["interrupted"] > 20, f"it was hardly hit: {ends}"

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # or the control thread would hardly get to run amid a function
    try:
        run(loop, service, script)
    finally:
        sys.setswitchinterval(interval)
