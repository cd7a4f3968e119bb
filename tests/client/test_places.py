"""Places that the broker keeps: who gets them, once, and for how long; then callers that catch, wait and call again."""

from __future__ import annotations

import contextvars
import threading
import timeit
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import anyio
import pytest
from scripted_broker import ScriptedBroker, echo, refusal

from maitred.client import AsyncClient, Client
from maitred.client.calls import Call, Options
from maitred.client.errors import PoolSaturated
from maitred.client.places import KEPT_LONGEST, SPARE_S, Place, claim, keep, kept
from maitred.protocol import frames
from maitred.protocol import messages as m
from maitred.protocol.client import Failed

WITHIN_S = 5.0
ME = object()


@pytest.fixture(autouse=True)
def _no_places_before() -> Iterator[None]:
    before = kept.set(None)
    yield
    kept.reset(before)


def call(pool: str | None = "p", command: str = "c") -> Call:
    return Call(pool, command, None, Options())


def refused(ticket: Any = 7, retry_after: float | None = 1.0, pool: str = "p") -> Failed:
    return Failed(1, PoolSaturated("full", pool=pool, ticket=ticket, retry_after=retry_after))


def given(now: float = 0.0, of: Call | None = None, **details: Any) -> Place | None:
    return Place.of(refused(**details), of or call(), ME, now)


def claimed(one: Call, owner: object = ME, now: float = 1.0) -> int:
    claim(one, owner, now)
    return one.ticket


def test_the_next_call_to_the_pool_has_it_and_no_other() -> None:
    keep(given())
    assert claimed(call("other")) == 0
    assert claimed(call(), owner=object()) == 0
    assert claimed(call()) == 7
    assert kept.get() is None
    assert claimed(call()) == 0


def test_the_command_stands_for_a_pool_that_the_broker_chooses() -> None:
    keep(given(of=call(None)))
    assert claimed(call(None, "another")) == 0
    assert claimed(call(None)) == 7
    keep(given(of=call(None)))
    assert claimed(call("p", "another")) == 7  # the refusal said which pool it was


def test_it_is_forgotten_when_it_is_too_old() -> None:
    keep(given(now=100.0, retry_after=2.0))
    assert claimed(call(), now=100.0 + 2 * 2.0 + SPARE_S + 0.01) == 0
    assert kept.get() is None
    keep(given(now=100.0, retry_after=2.0))
    assert claimed(call(), now=100.0 + 2 * 2.0 + SPARE_S) == 7


@pytest.mark.parametrize("ticket", [None, 0, -1, 2**53 + 1, "7", True, 1.0])
def test_what_is_no_ticket_is_none(ticket: Any) -> None:
    assert given(ticket=ticket) is None


def test_places_of_one_context_are_not_those_of_another_and_a_copy_does_not_double_them() -> None:
    keep(given())
    copy = contextvars.copy_context()
    assert contextvars.Context().run(claimed, call()) == 0
    assert copy.run(claimed, call()) == 7
    assert claimed(call()) == 0
    contextvars.copy_context().run(keep, given())
    assert claimed(call()) == 0


def test_several_are_kept_and_not_without_end() -> None:
    for n in range(KEPT_LONGEST + 4):
        keep(given(ticket=n + 1, pool=f"p{n}"))
    assert claimed(call("p3")) == 0
    assert claimed(call("p4")) == 5
    again = given(ticket=90, pool="p5")
    keep(again)
    keep(again)
    assert [claimed(call("p5")) for _ in range(3)] == [6, 90, 0]


def test_a_call_without_a_place_pays_next_to_nothing() -> None:
    took = min(timeit.repeat(lambda: kept.get() is not None, number=10_000, repeat=5)) / 10_000
    assert took < 2e-6


# --- clients ---


def refuse_first(message: Any, body: Sequence[Any]) -> Iterable[frames.Frames]:
    """A place for whoever comes without one."""
    if not isinstance(message, m.Request):
        return []
    if not message.ticket:
        return [refusal(message.id, retry_after=0.01, ticket=100 + message.id, queued=3, capacity=4)]
    return echo(message, body)


Make = Callable[..., ScriptedBroker]


def try_again(verb: Callable[[], Any]) -> Any:
    with pytest.raises(PoolSaturated) as caught:
        verb()
    error = caught.value
    assert (error.retry_after, error.reason, error.queued, error.capacity) == (0.01, "queue_full", 3, 4)
    assert error.ticket is not None
    return verb()


def test_whoever_catches_it_and_calls_again_comes_with_the_ticket(make_broker: Make) -> None:
    broker = make_broker(refuse_first)
    with Client(broker.clients) as client:
        for verb in (
            lambda: client.execute("general", "echo"),
            lambda: client.execute(None, "echo"),
            lambda: list(client.stream("general", "echo")),
            lambda: client.submit("general", "echo").result(WITHIN_S),
        ):
            assert try_again(verb) in ({}, [{}])
            first, second = broker.requests[-2:]
            assert (first.ticket, second.ticket) == (0, 100 + first.id)
            assert second.id != first.id


def test_each_thread_has_its_own(make_broker: Make) -> None:
    broker = make_broker(refuse_first)
    with Client(broker.clients) as client:
        with pytest.raises(PoolSaturated):
            client.execute("general", "echo")
        errors: list[BaseException] = []

        def elsewhere() -> None:
            with pytest.raises(PoolSaturated) as caught:
                client.execute("general", "echo")
            errors.append(caught.value)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join(WITHIN_S)
        assert errors
        assert client.execute("general", "echo") == {}
        assert [request.ticket for request in broker.requests] == [0, 0, 100 + broker.requests[0].id]


def test_whoever_waits_comes_when_told_with_the_ticket(make_broker: Make) -> None:
    broker = make_broker(refuse_first)
    with Client(broker.clients) as client:
        for verb in (
            lambda: client.execute("general", "echo", on_saturated="wait"),
            lambda: list(client.stream("general", "echo", on_saturated="wait")),
            lambda: client.submit("general", "echo", on_saturated="wait").result(WITHIN_S),
            lambda: list(client.map("general", "echo", [{}])),
        ):
            assert verb() in ({}, [{}])
            (at, first), (again_at, second) = broker.said[-2:]
            assert (first.ticket, second.ticket) == (0, 100 + first.id)
            assert again_at - at >= 0.01
    assert kept.get() is None


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_tasks_come_back_with_their_tickets(make_broker: Make, backend: str) -> None:
    broker = make_broker(refuse_first)

    async def scene() -> None:
        with anyio.fail_after(WITHIN_S):
            async with AsyncClient(broker.clients) as client:

                async def streamed() -> Any:
                    return [part async for part in client.stream("general", "echo")]

                async def submitted() -> Any:
                    return await (await client.submit("general", "echo")).result()

                for verb in (lambda: client.execute("general", "echo"), streamed, submitted):
                    with pytest.raises(PoolSaturated):
                        await verb()
                    assert await verb() in ({}, [{}])
                    first, second = broker.requests[-2:]
                    assert (first.ticket, second.ticket) == (0, 100 + first.id)
                assert await client.execute("general", "echo", on_saturated="wait") == {}
                assert [value async for value in client.map("general", "echo", [{}])] == [{}]
                assert all(request.ticket for request in broker.requests[1::2])

    anyio.run(scene, backend=backend)


def test_priority_and_name_reach_the_broker(make_broker: Make) -> None:
    broker = make_broker()
    with Client(broker.clients, name="nightly") as client:
        client.execute("general", "echo", priority="high")
        client.submit("general", "echo", priority="low").result(WITHIN_S)
        list(client.stream("general", "echo", priority="low"))
        list(client.map("general", "echo", [{}], priority="high"))
        client.execute("general", "echo")
    assert [request.priority for request in broker.requests] == [m.HIGH, m.LOW, m.LOW, m.HIGH, m.NORMAL]
    assert {hello.name for hello in broker.hellos} == {"nightly"}

    async def scene() -> None:
        async with AsyncClient(broker.clients, name="daily") as client:
            await client.execute("general", "echo", priority="low")

    anyio.run(scene)
    assert (broker.requests[-1].priority, broker.hellos[-1].name) == (m.LOW, "daily")
    with pytest.raises(ValueError, match="name is 7; accepted: a str"):
        Client(broker.clients, name=7)  # type: ignore[arg-type]
