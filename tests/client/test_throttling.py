"""Adaptive throttling: the rule against a list of all that happened, what it does to a stream of calls, real clients."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_broker import ScriptedBroker, echo, refusal

from maitred.client import AsyncClient, Client
from maitred.client.errors import PoolSaturated
from maitred.client.throttling import BUCKET_S, MAX_THROTTLES, PROBE_INTERVAL_S, WINDOW_S, Throttle, Throttling
from maitred.protocol import messages as m

WITHIN_S = 5.0
EPSILON = 1e-9

acts = st.lists(
    st.tuples(
        st.sampled_from(["accepted", "refused", "kept"]),
        st.one_of(st.floats(0, 0.1), st.floats(0, 30)),
        st.floats(0, 1, exclude_max=True),
    ),
    max_size=80,
)


def rule(multiplier: float, requests: int, accepts: int) -> float:
    return max(0.0, (requests - multiplier * accepts) / (requests + 1))


@given(acts, st.floats(1, 5))
def test_the_probability_is_the_rule_over_the_window(acts: list[tuple[str, float, float]], multiplier: float) -> None:
    drawn: list[float] = []
    throttle = Throttle(multiplier, lambda: drawn[-1])
    asked: list[tuple[float, bool]] = []  # when, and whether it was accepted
    now, sent_at = 0.0, -10.0
    for act, pause, draw in acts:
        now += pause
        drawn.append(draw)
        before = throttle.probability(now)
        sent = throttle.ask(now, kept=act == "kept")
        assert sent is (act == "kept" or draw >= before or now >= sent_at + PROBE_INTERVAL_S)
        sent_at = now if sent else sent_at
        if sent and act == "refused":
            throttle.refused(now)
        asked.append((now, sent and act != "refused"))
        # a bucket goes as a whole: what is young enough is there, what is too old is not
        young = [accepted for at, accepted in asked if at > now - WINDOW_S + BUCKET_S]
        old = [accepted for at, accepted in asked if at > now - WINDOW_S]
        possible = [
            rule(multiplier, len(some), sum(some))
            for some in (old[first:] for first in range(len(old) - len(young) + 1))
        ]
        assert any(abs(throttle.probability(now) - one) < EPSILON for one in possible)


@given(st.integers(1, 200), st.floats(0, 1, exclude_max=True))
def test_whoever_is_accepted_is_never_rejected_here(count: int, draw: float) -> None:
    throttle = Throttle(1.0, lambda: draw)
    assert all(throttle.ask(now * 0.1) for now in range(count))


@pytest.mark.parametrize(("multiplier", "accepted"), [(1.5, 0.5), (2.0, 0.5), (2.0, 0.25), (2.0, 0.05), (4.0, 0.1)])
def test_about_so_many_are_sent_for_each_that_is_accepted(multiplier: float, accepted: float) -> None:
    draw = random.Random(3).random
    throttle, sent, taken = Throttle(multiplier, draw), 0, 0.0
    capacity = 50.0  # requests a second that the pool takes, of those that are wanted
    for n in range(60_000):
        now, taken = n * accepted / capacity, taken + accepted
        if not throttle.ask(now):
            continue
        sent += 1
        if taken >= 1:
            taken = min(taken - 1, 10.0)  # a short queue
        else:
            throttle.refused(now)
    wanted = min(1.0, multiplier * accepted)
    assert sent / 60_000 == pytest.approx(wanted, rel=0.15)


def test_it_finds_out_that_times_are_better() -> None:
    throttle = Throttle(2.0, random.Random(4).random)
    for n in range(1000):
        if throttle.ask(n * 0.01):
            throttle.refused(n * 0.01)
    assert throttle.probability(10.0) > 0.9
    sent = [throttle.ask(10.0 + n * 0.1) for n in range(2 * int(WINDOW_S) * 10)]
    assert all(sent[-100:])
    assert throttle.probability(10.0 + 3 * WINDOW_S) == 0.0


def test_pools_are_apart_and_a_command_stands_for_a_pool_that_is_not_named() -> None:
    throttling = Throttling(1.0)
    for _ in range(50):
        throttling.ask("a", "c", 0.0, kept=True)
        throttling.refused("a", "c", 0.0)
        throttling.ask(None, "d", 0.0, kept=True)
        throttling.refused(None, "d", 0.0)
    rejected = [throttling.ask("a", "other", 0.0, kept=False) for _ in range(100)]
    (error, *_) = [error for error in rejected if error is not None]
    assert (error.reason, error.pool, error.retry_after, error.ticket) == ("throttled", "a", None, None)
    assert "pool 'a' refused most" in error.message
    assert any(throttling.ask(None, "d", 0.0, kept=False) for _ in range(100))
    assert throttling.ask("b", "c", 0.0, kept=False) is None
    assert throttling.ask(None, "e", 0.0, kept=False) is None
    for n in range(2 * MAX_THROTTLES):
        throttling.ask(f"p{n}", "c", 0.0, kept=False)
    assert len(throttling._throttles) == MAX_THROTTLES


@pytest.mark.parametrize("throttle", [0.9, 0, -1, "2", True, float("nan")])
def test_what_is_no_multiplier_is_refused(throttle: Any) -> None:
    with pytest.raises(ValueError, match="accepted: None, or a number of at least 1"):
        Client("tcp://127.0.0.1:1", throttle=throttle)


# --- clients ---

Make = Callable[..., ScriptedBroker]


def refuse_all(message: Any, body: Any) -> Any:
    return [refusal(message.id)] if isinstance(message, m.Request) else []


def refused(call: Callable[[], Any]) -> str | None:
    with pytest.raises(PoolSaturated) as caught:
        call()
    return caught.value.reason


def test_a_client_that_was_refused_often_sends_little_from_any_thread(make_broker: Make) -> None:
    broker = make_broker(refuse_all)
    with Client(broker.clients, throttle=2.0) as client:
        reasons = [refused(lambda: client.execute("general", "echo")) for _ in range(100)]
        sent = len(broker.requests)
        assert sent == reasons.count("queue_full") < 40
        assert reasons.count("throttled") == 100 - sent
        others: list[str | None] = []
        verbs: list[Callable[[], Any]] = [
            lambda: client.execute("general", "echo"),
            lambda: list(client.stream("general", "echo")),
            lambda: client.submit("general", "echo").result(WITHIN_S),
            lambda: list(client.map("general", "echo", [{}], on_saturated="raise")),
        ]
        for verb in verbs:
            thread = threading.Thread(target=lambda verb=verb: others.extend(refused(verb) for _ in range(25)))
            thread.start()
            thread.join(WITHIN_S)
        assert others.count("throttled") > 75
        broker.answers = echo
        assert client.execute("other", "echo") == {}


@pytest.mark.slow
def test_whoever_waits_is_let_through_in_the_end(make_broker: Make) -> None:
    broker = make_broker(refuse_all)
    with Client(broker.clients, throttle=2.0) as client:
        for _ in range(10):
            refused(lambda: client.execute("general", "echo"))
        broker.answers = echo
        assert client.execute("general", "echo", on_saturated="wait") == {}
        assert list(client.map("general", "echo", [{"n": 1}])) == [{"n": 1}]


def test_a_place_that_is_kept_is_not_given_up(make_broker: Make) -> None:
    def refuse(message: Any, _: Any) -> Any:
        return [refusal(message.id, retry_after=0.0, ticket=9)] if isinstance(message, m.Request) else []

    broker = make_broker(refuse)
    with Client(broker.clients, throttle=1.0) as client:
        for _ in range(50):
            assert refused(lambda: client.execute("general", "echo")) == "queue_full"
        assert all(request.ticket for request in broker.requests[1:])


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_tasks_are_throttled_as_threads_are(make_broker: Make, backend: str) -> None:
    broker = make_broker(refuse_all)

    async def scene() -> None:
        with anyio.fail_after(WITHIN_S):
            async with AsyncClient(broker.clients, throttle=2.0) as client:
                reasons: list[object] = []
                for _ in range(60):
                    with pytest.raises(PoolSaturated) as caught:
                        await client.execute("general", "echo")
                    request = await client.submit("general", "echo")
                    with pytest.raises(PoolSaturated) as caught_later:
                        await request.result()
                    reasons += [caught.value.reason, caught_later.value.reason]
                assert len(broker.requests) == reasons.count("queue_full") < 50
                broker.answers = echo
                request = await client.submit("general", "echo", on_saturated="wait")
                assert await request.result() == {}

    anyio.run(scene, backend=backend)
