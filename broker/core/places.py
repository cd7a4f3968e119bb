"""Places that are kept for refused callers, so that who comes back as told finds room.

A fixed `retry_after` sends everybody back at once, and most of them away again. Here each refused caller is given the
time at which its own place will be free, one completion after the one before it, and a ticket. A newcomer is admitted only
where there is room beyond the places that are expected to be taken up; so those who wait outside are served in turn,
although nothing of theirs is held. The turns are the clients', as in the queue: who has one place does not stand behind
the hundred of another.

Many never come back. So places count by the share of them that was taken up of late; who gave none up costs nothing.
"""

from __future__ import annotations

import heapq
import math

from maitred.broker.core.account import Owner
from maitred.protocol.limits import MAX_RETRY_AFTER_S

MAX_PLACES = 65_536
"""Places kept at a time, for each pool: more is further away than MAX_RETRY_AFTER_S in all but the fastest pools. One more
caller is told a time without a ticket."""

SHARE_WEIGHT = 0.05
"""Of the newest place in the share that is taken up."""

KEEP_S = 0.25
KEEP_SHARE = 0.25
"""A place is kept for so long after its time, and for this share of the wait besides: callers' timers are no better."""

EARLY_S = 0.02
"""Who comes this much too soon is on time."""

MARGIN = 0.03
"""Waits are told so much longer: a rate that is estimated too high would let everybody come too soon."""

SPREAD = 0.618033988749895
"""The golden ratio: multiples of it, modulo 1, spread evenly whatever their number; a jitter without randomness."""


class Places:
    """The callers that were sent away."""

    __slots__ = ("_clients", "_kept", "_share", "_until", "broken", "kept_word")

    def __init__(self) -> None:
        self._kept: dict[int, tuple[float, float, Owner]] = {}  # ticket: its time, kept until, for whom
        self._until: list[tuple[float, int]] = []  # a heap of the ends; those of places taken up are passed over
        self._clients: dict[Owner, int] = {}
        self._share = 1.0
        self.kept_word = 0
        self.broken = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def expected(self) -> int:
        """How many of them will be taken up, as far as experience goes."""
        return self._expected(len(self._kept))

    def _expected(self, places: int) -> int:
        return math.ceil(self._share * places - 0.5)

    def expire(self, now: float) -> None:
        """Give away the places of those who did not come."""
        while self._until and self._until[0][0] <= now:
            _, ticket = heapq.heappop(self._until)
            if ticket in self._kept:
                self._remove(ticket)
                self._share -= SHARE_WEIGHT * self._share

    def keep(self, ticket: int, client: Owner, short_by: int, interval_s: float, now: float) -> tuple[float, bool]:
        """Send a caller away.

        Args:
            ticket: the number of its place.
            client: who may come back with it: the account.
            short_by: how many completions it takes until there is room for one, those that wait outside left aside.
            interval_s: seconds between two completions.
            now: the core's time.

        Returns:
            Seconds to wait (more may be told next time, where it is MAX_RETRY_AFTER_S), and whether a place is kept.
        """
        own = self._clients.get(client, 0)
        clients = len(self._clients) + (not own)
        before = min(len(self._kept), (own + 1) * clients - 1)  # by turns: one of each client, then the second of each
        jitter = (ticket * SPREAD) % 1.0
        wait = (max(1, short_by + self._expected(before)) + jitter) * interval_s * (1.0 + MARGIN)
        if len(self._kept) >= MAX_PLACES:
            return min(wait, MAX_RETRY_AFTER_S), False
        until = now + wait + KEEP_S + KEEP_SHARE * wait
        self._kept[ticket] = (now + wait, until, client)
        self._clients[client] = own + 1
        heapq.heappush(self._until, (until, ticket))
        return min(wait, MAX_RETRY_AFTER_S), True

    def wait_left(self, ticket: int, client: Owner, now: float) -> float | None:
        """How long the holder of a ticket has still to wait: 0 where it is on time; None: no place is kept for it."""
        kept = self._kept.get(ticket)
        if kept is None or kept[2] != client:
            return None
        left = kept[0] - now
        return 0.0 if left <= EARLY_S else left

    def take_up(self, ticket: int, found_room: bool) -> None:
        """Its holder came, on time."""
        self._remove(ticket)
        self._share += SHARE_WEIGHT * (1.0 - self._share)
        if found_room:
            self.kept_word += 1
        else:
            self.broken += 1

    def _remove(self, ticket: int) -> None:
        _, _, client = self._kept.pop(ticket)
        if self._clients[client] == 1:
            del self._clients[client]
        else:
            self._clients[client] -= 1
        if not self._kept:
            self._until.clear()
