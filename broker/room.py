"""Whether one more connection is taken: asked at each handshake, and looked after between them.

too many in all, or from one address      the handshake is refused (a peer's library tries again by itself)
nine tenths of the descriptors in use     likewise: without any, nothing can be accepted, opened or written
more than that without a handshake        the newest are cut off: a connection that says nothing takes a descriptor, too
"""

from __future__ import annotations

import heapq
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from maitred.transport.connections import LOCAL_ADDRESS, Connections

__all__ = ["Room", "descriptors", "raise_descriptors"]

FULL_FROM = 0.9
"""Share of the descriptors from which on nobody is let in: the rest is for files, and for those who look what is wrong."""

QUIET_S = 5.0
"""So long after the last refusal the next one is news again."""

MAX_CUTS = 256
"""Connections beyond the bound cut off at one look: some milliseconds."""

Tell = Callable[[str, dict[str, Any]], object]
"""Called with the name of an event and its fields."""


class Room:
    """Callable with the address of who shakes hands: an IP address, or "localhost:UID:GID:PID" over `ipc://`.

    Args:
        sides: the connections of each ROUTER.
        most: connections open at a time.
        most_per_address: of these, from one address; those over `ipc://`, all of one user, are not counted so.
        clock: seconds.

    Attributes:
        tell: of the first refusal of an episode; nobody at first.
        refused: how many were, by reason.
    """

    def __init__(
        self,
        sides: Sequence[Connections[Any]],
        most: int,
        most_per_address: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tell: Tell = lambda _event, _fields: None
        self.refused: Counter[str] = Counter()
        self._sides = sides
        self._most = most
        self._most_per_address = most_per_address
        self._clock = clock
        self._refused_at: dict[str, float] = {}

    def __call__(self, address: str) -> bool:
        """Whether there is room for who shakes hands, whose connection is among those that are open already."""
        self._read()
        address = LOCAL_ADDRESS if address.startswith(LOCAL_ADDRESS) else address
        reason = self._why_not(address)
        if reason is None:
            return True
        self._refuse(address, reason)
        return False

    def open(self) -> int:
        """Connections there are, those that have not shaken hands included."""
        return sum(len(side) for side in self._sides)

    def tidy(self, used: int, limit: int) -> int:
        """Cut off who is beyond the bounds, the newest first, whether he has shaken hands or not; returns how many.

        `used` and `limit`: of descriptors, as they are just now.
        """
        cut = self._cut_newest(self.open() - self._most, "max_connections")
        cut = cut or self._cut_newest(used - int(FULL_FROM * limit), "descriptors")
        for address, count in self._crowds():
            cut += self._cut_newest(count - self._most_per_address, "max_connections_per_address", address)
        return cut

    def _cut_newest(self, excess: int, reason: str, address: str | None = None) -> int:
        if excess <= 0:
            return 0
        chosen = [one for side in self._sides for one in side if address in (None, one.address)]
        victims = heapq.nlargest(min(excess, MAX_CUTS), chosen, key=lambda one: one.number)
        for victim in victims:
            if victim.cut():
                self._refuse(victim.address, reason)
        return len(victims)

    def _why_not(self, address: str) -> str | None:
        if self.open() > self._most:
            return "max_connections"
        if address != LOCAL_ADDRESS and sum(side.at(address) for side in self._sides) > self._most_per_address:
            return "max_connections_per_address"
        used, limit = descriptors()
        return "descriptors" if used >= FULL_FROM * limit else None

    def _refuse(self, address: str, reason: str) -> None:
        now = self._clock()
        if now - self._refused_at.get(reason, -QUIET_S) >= QUIET_S:
            self.tell("connections.refused", {"address": address, "reason": reason, "open": self.open()})
        self._refused_at[reason] = now
        self.refused[reason] += 1

    def _read(self) -> None:
        for side in self._sides:
            side.read()

    def _crowds(self) -> list[tuple[str, int]]:
        """Addresses with more connections than one may have."""
        if self.open() <= self._most_per_address:  # nearly always
            return []
        addresses: Counter[str] = Counter()
        for side in self._sides:
            addresses.update(side.addresses())
        return [
            (address, count)
            for address, count in addresses.items()
            if count > self._most_per_address and address != LOCAL_ADDRESS
        ]


def descriptors() -> tuple[int, int]:
    """How many this process has open, and may. Takes 3 µs; before Linux 6.2 and on macOS 1 µs for each that is open."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    where = "/proc/self/fd" if sys.platform == "linux" else "/dev/fd"
    return os.stat(where).st_size if _TOLD_BY_STAT else len(os.listdir(where)), limit


_TOLD_BY_STAT = sys.platform == "linux" and os.stat("/proc/self/fd").st_size > 0


def raise_descriptors() -> int:
    """Let this process have as many descriptors as the system allows it (`ulimit -Hn`); returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):  # macOS says "unlimited" and allows less
            return soft
    return hard
