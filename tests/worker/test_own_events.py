"""What an application may tell by `Context.event`, and how it waits for the thread that sends it."""

from __future__ import annotations

from typing import Any

import pytest

from maitred.protocol import frames
from maitred.protocol import messages as m
from maitred.protocol.own_events import EVENTS_AT_ONCE, EVENTS_PER_S, Allowance
from maitred.worker.context import Context
from maitred.worker.own_events import MAX_WAITING, OwnEvents


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def taken(events: OwnEvents) -> list[m.WorkerEvent]:
    found: list[m.WorkerEvent] = []
    while (event := events.first()) is not None:
        message, _ = frames.from_worker.decode(frames.encode(event))
        assert message == event
        found.append(event)
        events.sent(event)
    return found


@pytest.mark.parametrize("name", ["", "Full", "cache full", ".full", "full.", "a..b", "a\n", "9a", "é", "a" * 65, None])
def test_a_name_is_words_with_dots(name: Any) -> None:
    with pytest.raises(ValueError, match="an event is called"):
        Context().event(name)


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"pool": 1}, "call yours otherwise"),
        ({f"f{n}": n for n in range(17)}, "17 fields; 16 are accepted"),
        ({"f" * 65: 1}, "1 to 64 characters"),
        ({"n": 2**63}, "beyond 64 bits"),
    ],
)
def test_fields_are_few_and_small(fields: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        Context().event("it", **fields)


def test_a_field_of_another_type_is_named() -> None:
    with pytest.raises(TypeError, match="event it: rows is of type list"):
        Context().event("it", rows=[1])


def test_whatever_is_accepted_is_a_message() -> None:
    events = OwnEvents()
    events.accepted = True
    context = Context(command="echo", request_id="abcd-1", teller=events.tell)
    context.event("cache.full_2", none=None, yes=True, n=-(2**63), share=0.5, text="x" * 300, broken="\udc80", name="n")
    (event,) = taken(events)
    assert (event.name, event.command, event.request, event.lost) == ("cache.full_2", "echo", "abcd-1", 0)
    text = "x" * 255 + "…"
    assert event.fields == {
        "none": None, "yes": True, "n": -(2**63), "share": 0.5, "text": text, "broken": "\\udc80", "name": "n"
    }  # fmt: skip


def test_too_many_are_left_out_and_counted() -> None:
    clock = Clock()
    events = OwnEvents(clock)
    events.accepted = True
    told: list[m.WorkerEvent] = []
    for number in range(EVENTS_AT_ONCE + 7):
        events.tell("it", {"n": number}, "", "")
        told += taken(events)
    assert [event.fields["n"] for event in told] == list(range(EVENTS_AT_ONCE))
    clock.now += 1.5 / EVENTS_PER_S
    events.tell("it", {"n": -1}, "", "")
    (event,) = taken(events)
    assert event.lost == 7


def test_they_wait_for_a_broker_and_the_oldest_go() -> None:
    clock, woken = Clock(), list[int]()
    events = OwnEvents(clock)
    events.wake = lambda: woken.append(1)
    for number in range(MAX_WAITING + 3):
        clock.now += 1.0
        events.tell("it", {"n": number}, "", "")
    assert len(woken) == MAX_WAITING + 3
    assert events.first() is None, "no broker has said that it takes them"
    events.accepted = True
    told = taken(events)
    assert [event.fields["n"] for event in told] == list(range(3, MAX_WAITING + 3))
    assert sum(event.lost for event in told) == 3


def test_an_older_broker_is_told_nothing() -> None:
    events = OwnEvents()
    events.accepted = False
    events.tell("it", {}, "", "")
    events.accepted = True
    assert taken(events) == []


def test_an_allowance_is_no_larger_after_a_long_while() -> None:
    allowance = Allowance(per_s=10, at_once=5)
    assert sum(allowance.take(0.0) for _ in range(9)) == 5
    assert sum(allowance.take(3600.0) for _ in range(9)) == 5
    assert sum(allowance.take(3600.0 + n / 10) for n in range(1, 21)) in (19, 20)


def test_one_that_was_left_out_while_it_was_sent_takes_no_other_along() -> None:
    clock = Clock()
    events = OwnEvents(clock)
    events.accepted = True
    events.tell("it", {"n": 0}, "", "")
    sending = events.first()
    assert sending is not None
    for number in range(1, MAX_WAITING + 1):
        clock.now += 1.0
        events.tell("it", {"n": number}, "", "")
    events.sent(sending)
    assert [event.fields["n"] for event in taken(events)] == list(range(1, MAX_WAITING + 1))
