"""The feed of events: numbered, bounded, and no listener holds it up."""

from __future__ import annotations

import trio
import trio.testing

from maitred.broker.core.effects import Note
from maitred.broker.event_feed import EventFeed


def feed_of(count: int, keep: int = 5) -> EventFeed:
    feed = EventFeed(keep, clock=lambda: 100.0)
    for number in range(1, count + 1):
        feed(Note("worker.started", {"pid": number}))
    return feed


def test_what_happened_lately_is_kept_by_number() -> None:
    feed = feed_of(8)
    assert [event.number for event in feed.recent()] == [4, 5, 6, 7, 8]
    assert [event.fields["pid"] for event in feed.recent(after=6)] == [7, 8]
    assert feed.recent(after=8) == feed.recent(after=99) == EventFeed().recent() == []
    assert feed.recent(after=7)[0][1:3] == (100.0, "worker.started")


async def test_a_listener_is_told_what_happens_from_then_on() -> None:
    feed = feed_of(3)
    with feed.listen() as listener:
        feed(Note("worker.died", {}))
        assert (await listener.__anext__()).number == 4
        with trio.move_on_after(0.01) as waited:
            await listener.__anext__()
        assert waited.cancelled_caught
        feed(Note("worker.died", {}))
        assert (await listener.__anext__()).number == 5
    feed(Note("worker.died", {}))
    with trio.move_on_after(0.01) as waited:
        await listener.__anext__()
    assert waited.cancelled_caught


async def test_a_slow_listener_loses_its_oldest_and_is_told_how_many() -> None:
    feed = EventFeed()
    with feed.listen(most=2) as slow, feed.listen() as fast:
        for _ in range(5):
            feed(Note("worker.started", {}))
        assert (slow.lost, fast.lost) == (3, 0)
        assert [(await slow.__anext__()).number for _ in range(2)] == [4, 5]
        assert [(await fast.__anext__()).number for _ in range(5)] == [1, 2, 3, 4, 5]


async def test_who_is_cancelled_before_he_has_one_loses_none() -> None:
    feed = EventFeed()
    with feed.listen() as listener:
        feed(Note("worker.started", {}))
        with trio.CancelScope() as scope:
            scope.cancel()
            await listener.__anext__()
        assert (await listener.__anext__()).number == 1
