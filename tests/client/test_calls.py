"""What a call is made of: options that are refused, the request on the wire, when to try again."""

from __future__ import annotations

from typing import Any

import pytest

from maitred.client.calls import FIRST_PAUSE_S, JITTER, PLACE_JITTER, SHORTEST_PAUSE_S, Backoff, Call, Options, outcome
from maitred.client.errors import InvalidArgument, PoolSaturated, RequestCancelled, Unavailable, UnknownPool
from maitred.protocol.client import Failed, Replied


def call(**options: Any) -> Call:
    return Call("p", "c", None, Options(**options))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"timeout": 0}, "timeout is 0; accepted: seconds"),
        ({"timeout": -1.5}, "timeout is -1.5"),
        ({"timeout": float("nan")}, "timeout is nan"),
        ({"timeout": 1e9}, "at most 604800"),
        ({"timeout": True}, "timeout is True"),
        ({"timeout": "30s"}, "timeout is '30s'"),
        ({"retries": -1}, "retries is -1; accepted: an int from 0"),
        ({"retries": 100}, "retries is 100"),
        ({"idempotent": "yes"}, "idempotent is 'yes'; accepted: True or False"),
        ({"on_saturated": "retry"}, 'on_saturated is .retry.; accepted: "raise" or "wait"'),
        ({"retries": 2, "idempotent": False}, "contradict"),
        ({"priority": "urgent"}, 'priority is .urgent.; accepted: "low", "normal" or "high"'),
        ({"priority": 2}, "priority is 2"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_by_name(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        call(**options)


@pytest.mark.parametrize(("pool", "command"), [("", "c"), ("p" * 129, "c"), ("p", ""), ("p", 7)])
def test_a_name_that_is_none_is_refused_before_it_is_sent(pool: str, command: Any) -> None:
    with pytest.raises(InvalidArgument, match="accepted: a str of 1 to 128"):
        Call(pool, command, None, Options())


def test_arguments_are_a_mapping() -> None:
    with pytest.raises(InvalidArgument, match="not list") as caught:
        Call("p", "c", [1], Options())  # type: ignore[arg-type]
    assert caught.value.argument == "args"


@pytest.mark.parametrize(
    ("options", "idempotent", "attempts"),
    [
        ({}, None, 0),
        ({"idempotent": True}, True, 0),
        ({"idempotent": False}, False, 0),
        ({"retries": 2}, True, 3),
        ({"retries": 0}, None, 1),
        ({"retries": 0, "idempotent": False}, None, 1),
    ],
)
def test_options_on_the_wire(options: dict[str, Any], idempotent: bool | None, attempts: int) -> None:
    message = call(**options).message(1, 0.0)
    assert (message.idempotent or None, message.attempts) == (idempotent or None, attempts)


def test_the_time_on_the_wire_is_what_is_left() -> None:
    one = call(timeout=10)
    one.begin(100.0)
    assert one.message(1, 104.0).timeout == 6.0
    assert one.message(1, 200.0).timeout == 0.0
    assert call().message(1, 5.0).timeout is None


@pytest.mark.parametrize(("word", "number"), [("low", 0), ("normal", 1), ("high", 2)])
def test_priority_on_the_wire(word: Any, number: int) -> None:
    assert call(priority=word).message(1, 0.0).priority == number


def saturated(retry_after: float | None, **details: Any) -> Failed:
    return Failed(1, PoolSaturated("full", **details, **({} if retry_after is None else {"retry_after": retry_after})))


def test_it_tries_again_when_the_broker_says_and_not_past_its_deadline() -> None:
    one = call(timeout=10, on_saturated="wait")
    one.begin(0.0)
    at = one.again_at(saturated(2.0), 1.0)
    assert at is not None
    assert 3.0 <= at <= 3.0 + 2.0 * JITTER
    assert one.again_at(saturated(2.0), 9.0) is None
    assert one.again_at(Failed(1, UnknownPool("no")), 1.0) is None
    assert call().again_at(saturated(2.0), 1.0) is None


def test_it_comes_back_with_its_ticket_just_when_it_was_told_to() -> None:
    one = call(on_saturated="wait")
    assert one.message(1, 0.0).ticket == 0
    for ticket in (7, 8):
        at = one.again_at(saturated(2.0, ticket=ticket), 1.0)
        assert at is not None
        assert 3.0 <= at <= 3.0 + 2.0 * PLACE_JITTER
        assert one.message(2, 3.0).ticket == ticket
    one.again_at(saturated(2.0), 1.0)
    assert one.message(2, 3.0).ticket == 0
    assert Backoff(lambda: 0.0).pause(PoolSaturated("full", retry_after=0.0, ticket=1)) == SHORTEST_PAUSE_S


def test_without_a_word_of_the_broker_pauses_double_until_there_was_room() -> None:
    backoff = Backoff(lambda: 0.0)
    error = PoolSaturated("full")
    assert [backoff.pause(error) for _ in range(3)] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]
    assert max(backoff.pause(error) for _ in range(20)) == 1.0
    backoff.reset()
    assert backoff.pause(error) == FIRST_PAUSE_S


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (Replied(1, [b"x"]), "finished"),
        (Failed(1, RequestCancelled("x", outcome="removed")), "removed"),
        (Failed(1, RequestCancelled("x")), "stopped"),
        *(
            (Failed(1, RequestCancelled("x", outcome=word)), word)
            for word in ("unsent", "stopped", "interrupted", "killed", "abandoned", "client_closed", "a newer word")
        ),
        (Failed(1, Unavailable("x", reason="lost")), "unknown"),
        (Failed(1, UnknownPool("x")), "finished"),
    ],
)
def test_what_became_of_a_cancelled_request(answer: Replied | Failed, word: str) -> None:
    assert outcome(answer) == word
