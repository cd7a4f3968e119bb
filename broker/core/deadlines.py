"""When requests run out of time: a wheel of slots, so that setting, dropping and finding the next one cost O(1).

A heap with lazy deletion would keep a dead entry for every request answered within its time-out: 300,000 of them at
10,000 requests a second and 30 s. Here a finished request leaves at once; what stays is an empty slot until its time.
"""

from __future__ import annotations

import heapq
import math
from typing import Generic, TypeVar

RESOLUTION_S = 0.01
"""Width of a slot: a request expires at most so much after its deadline, never before."""

_T = TypeVar("_T")


class Deadlines(Generic[_T]):
    """Things that are due at a time, each at most once. The things are told apart by identity of their hash.

    Attributes:
        soonest: when `due` is worth calling; infinity where nothing is due ever. Asked after each message: no call.
    """

    def __init__(self) -> None:
        self.soonest = math.inf
        self._slots: dict[int, dict[_T, None] | None] = {}
        self._order: list[int] = []
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, deadline: float, item: _T) -> None:
        """Note that the item is due at `deadline` (seconds of the core's clock)."""
        slot = self._slot(deadline)
        items = self._slots.get(slot)
        if not items:
            if slot not in self._slots:
                heapq.heappush(self._order, slot)
                self.soonest = self._order[0] * RESOLUTION_S
            items = self._slots[slot] = {}
        assert item not in items
        items[item] = None
        self._size += 1

    def discard(self, deadline: float, item: _T) -> None:
        """Forget the item that was added with this deadline."""
        slot = self._slot(deadline)
        items = self._slots.get(slot)
        if items is not None and item in items:
            del items[item]
            self._size -= 1
            if not items:  # its number stays, until its time; the dict's memory need not
                self._slots[slot] = None

    def due(self, now: float) -> list[_T]:
        """Take out everything whose time has come, in order of its slots."""
        ready: list[_T] = []
        while self._order and self._order[0] * RESOLUTION_S <= now:
            items = self._slots.pop(heapq.heappop(self._order))
            if items:
                self._size -= len(items)
                ready.extend(items)
        self.soonest = self._order[0] * RESOLUTION_S if self._order else math.inf
        return ready

    @staticmethod
    def _slot(deadline: float) -> int:
        return math.ceil(deadline / RESOLUTION_S)
