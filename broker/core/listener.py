"""One stream of events that a client is told."""

from __future__ import annotations

from collections import deque

from maitred.broker.core.effects import Event
from maitred.protocol import messages

__all__ = ["Listener"]


class Listener:
    """See above.

    Attributes:
        id: of its LISTEN.
        names: what it wants, as `Listeners` reads it.
        credit: events that the reader takes now.
        follow: whether it goes on after those that were kept.
        waiting: what it was not told yet.
        told: parts sent.
        seen: the number of the last event that was looked at.
        lost: events left out.
    """

    __slots__ = ("credit", "follow", "id", "lost", "names", "seen", "told", "waiting")

    def __init__(self, message: messages.Listen) -> None:
        self.id = message.id
        self.names = message.names
        self.credit = message.window
        self.follow = message.follow
        self.waiting: deque[Event] = deque()
        self.told = self.seen = self.lost = 0
