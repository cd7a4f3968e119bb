"""What happened lately, and who is told what happens next: numbered, bounded, and nobody is waited for.

Every event of the broker passes here on its way to the log. Tables, pages and subscribers read it; none can hold it up.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager

import trio

from maitred.broker.core.effects import Event, Note

__all__ = ["MAX_KEPT", "MAX_WAITING", "Event", "EventFeed", "Listener"]

MAX_KEPT = 1000
"""Events that are kept for who comes later: at some hundred bytes each, a few hundred KB, and hours of a quiet broker."""

MAX_WAITING = 1000
"""Events that wait for one listener; with more, its oldest are left out, and it is told how many (`Listener.lost`)."""


class EventFeed:
    """Takes notes, keeps the last ones, and hands each to whoever listens.

    Args:
        keep: how many are kept.
        clock: seconds since 1970.
    """

    def __init__(self, keep: int = MAX_KEPT, clock: Callable[[], float] = time.time) -> None:
        self._kept: deque[Event] = deque(maxlen=keep)
        self._clock = clock
        self._listeners: list[Listener] = []
        self.last = 0

    def __call__(self, note: Note) -> None:
        """Number an event, keep it, and hand it on. Never waits."""
        self.last += 1
        event = Event(self.last, self._clock(), note.event, note.fields)
        self._kept.append(event)
        for listener in self._listeners:
            listener.offer(event)

    def recent(self, after: int = 0) -> list[Event]:
        """Those kept whose number is above `after`, oldest first."""
        new = min(self.last - after, len(self._kept))
        return list(itertools.islice(self._kept, len(self._kept) - new, None)) if new > 0 else []

    @contextmanager
    def listen(self, most: int = MAX_WAITING) -> Generator[Listener]:
        """From here on each event goes to this listener, too; `most` of them wait for it."""
        listener = Listener(most)
        self._listeners.append(listener)
        try:
            yield listener
        finally:
            self._listeners.remove(listener)


class Listener:
    """One who is told: `async for event in listener`. It may be cancelled at any time, and loses no event by that."""

    def __init__(self, most: int) -> None:
        self._waiting: deque[Event] = deque()
        self._most = most
        self._some = trio.Event()
        self.lost = 0
        """Events left out so far, as this listener was too slow for them."""

    def offer(self, event: Event) -> None:
        """Never waits; the oldest goes where there is no room."""
        if len(self._waiting) >= self._most:
            self._waiting.popleft()
            self.lost += 1
        self._waiting.append(event)
        self._some.set()

    def take(self) -> list[Event]:
        """Those that wait, oldest first; none is waited for."""
        taken = list(self._waiting)
        self._waiting.clear()
        return taken

    def __aiter__(self) -> Listener:
        return self

    async def __anext__(self) -> Event:
        """The next event; a checkpoint."""
        while not self._waiting:
            self._some = trio.Event()
            await self._some.wait()
        await trio.lowlevel.checkpoint()
        return self._waiting.popleft()
