"""Places that are kept for refused callers, so that who comes back as told finds room.

A fixed `retry_after` sends everybody back at once, and most of them away again. Here each refused caller is given the
time at which its own place will be free, one completion after the one before it, and a ticket. A newcomer is admitted only
where there is room beyond the places that are expected to be taken up; so the line of those who wait outside is served in
its order, although nothing of theirs is held.

Many never come back. So places count by the share of them that was taken up of late; who gave none up costs nothing.
"""

from __future__ import annotations

import math
from collections import OrderedDict

from maitred.protocol.limits import MAX_RETRY_AFTER_S

MAX_PLACES = 65_536
"""Places kept at a time, for each pool and reason: more is further away than MAX_RETRY_AFTER_S in all but the fastest
pools. One more caller is told a time without a ticket."""

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
    """The callers that were sent away for one reason, in the order in which they are to come back."""

    __slots__ = ("_kept", "_share", "broken", "kept_word")

    def __init__(self) -> None:
        self._kept: OrderedDict[int, tuple[float, float, bytes]] = (
            OrderedDict()
        )  # ticket: its time, kept until, for whom
        self._share = 1.0
        self.kept_word = 0
        self.broken = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def expected(self) -> int:
        """How many of them will be taken up, as far as experience goes."""
        return math.ceil(self._share * len(self._kept) - 0.5)

    def expire(self, now: float) -> None:
        """Give away the places of those who did not come. They stand nearly in order: each wait is about as long."""
        while self._kept:
            ticket, (_, until, _) = next(iter(self._kept.items()))
            if until > now:
                return
            del self._kept[ticket]
            self._share -= SHARE_WEIGHT * self._share

    def keep(self, ticket: int, client: bytes, short_by: int, rate: float, now: float) -> tuple[float, bool]:
        """Send a caller away.

        Args:
            ticket: the number of its place.
            client: who may come back with it.
            short_by: how many completions it takes until there is room for one, those that wait outside left aside.
            rate: completions per second.
            now: the core's time.

        Returns:
            Seconds to wait, and whether a place is kept.
        """
        places = max(1, short_by + self.expected)
        jitter = (ticket * SPREAD) % 1.0
        wait = ((places + jitter) / rate) * (1.0 + MARGIN)
        wait = min(wait, MAX_RETRY_AFTER_S)
        if len(self._kept) >= MAX_PLACES:
            return wait, False
        self._kept[ticket] = (now + wait, now + wait + KEEP_S + KEEP_SHARE * wait, client)
        return wait, True

    def wait_left(self, ticket: int, client: bytes, now: float) -> float | None:
        """How long the holder of a ticket has still to wait: 0 where it is on time; None: no place is kept for it."""
        kept = self._kept.get(ticket)
        if kept is None or kept[2] != client:
            return None
        left = kept[0] - now
        return 0.0 if left <= EARLY_S else left

    def take_up(self, ticket: int, found_room: bool) -> None:
        """Its holder came, on time."""
        del self._kept[ticket]
        self._share += SHARE_WEIGHT * (1.0 - self._share)
        if found_room:
            self.kept_word += 1
        else:
            self.broken += 1
