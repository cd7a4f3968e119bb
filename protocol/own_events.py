"""Events that a worker's own code tells (WORKER_EVENT): what their names begin with, and how many there may be."""

from __future__ import annotations

from typing import Final

__all__ = ["COUNTED_AS", "EVENTS_AT_ONCE", "EVENTS_PER_S", "OWN", "RESERVED", "Allowance"]

OWN: Final = "app."
"""What the names of such events begin with; all others are registered (`protocol.events`)."""

COUNTED_AS: Final = "app"
"""All of them, in counts by name: applications make up as many names as they like."""

RESERVED: Final = frozenset({"pool", "worker", "command", "request", "lost"})
"""Fields that each of them has; an application's own have other names."""

EVENTS_PER_S: Final = 10.0
"""Of one worker, in the long run: events are read by people. What comes by the thousand is counted instead."""

EVENTS_AT_ONCE: Final = 50
"""As many may come at once after a quiet while."""


class Allowance:
    """Whether one more event may be told: a token bucket, full at first. `lost` counts those that were left out since.

    Args:
        per_s: events a second.
        at_once: its size.
    """

    __slots__ = ("_at", "_at_once", "_per_s", "_room", "lost")

    def __init__(self, per_s: float = EVENTS_PER_S, at_once: float = EVENTS_AT_ONCE) -> None:
        self._per_s = per_s
        self._at_once = self._room = at_once
        self._at: float | None = None
        self.lost = 0

    def take(self, now: float) -> bool:
        """Count one, where there is room; else it is left out. `now` in seconds, and never less than before."""
        if self._at is not None:
            self._room = min(self._room + (now - self._at) * self._per_s, self._at_once)
        self._at = now
        if self._room < 1:
            self.lost += 1
            return False
        self._room -= 1
        return True
