"""How long to wait before a worker that died is replaced, and when a pool of such is given up on for a while. Pure."""

from __future__ import annotations

from collections import deque

__all__ = ["STEADY_S", "Backoff", "Budget"]

STEADY_S = 10.0
"""A worker that served for so long did not die of its start: the next death counts as the first."""

HOPELESS = 3
"""Deaths in a row before any readiness, after which the pool is reported degraded."""


class Backoff:
    """One place in a pool, and the deaths in it.

    A worker that has served is replaced at once: it is the case that callers wait for. Who dies again and again before it
    has answered anything, or never gets ready, waits: `first`, then twice as long each time, up to `longest` seconds.
    """

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self._deaths = 0
        self._unready = 0

    def died(self, lived_s: float, was_ready: bool, served: int = 0) -> float:
        """Note a death; returns the pause in seconds."""
        self._unready = 0 if was_ready else self._unready + 1
        steady = was_ready and (served > 0 or lived_s >= STEADY_S)
        self._deaths = 1 if steady else self._deaths + 1
        free = 1 if was_ready else 0
        if self._deaths <= free:
            return 0.0
        return min(self._longest, self._first * 2 ** min(self._deaths - free - 1, 32))

    def forgive(self) -> None:
        """The next death counts as the first."""
        self._deaths = self._unready = 0

    @property
    def hopeless(self) -> bool:
        """Whether the last few never got ready."""
        return self._unready >= HOPELESS


class Budget:
    """Deaths that a pool may have in its window of time.

    Only those count that tell of an adapter that does not work: of workers that had answered nothing, and had not been
    ready for STEADY_S. Workers that serve are replaced however often a person, a request or the kernel kills them.

    Args:
        deaths: so many within `window_s` seconds spend it.
    """

    def __init__(self, deaths: int, window_s: float) -> None:
        self._window_s = window_s
        self._deaths: deque[float] = deque(maxlen=deaths)
        self.spent_at: float | None = None

    def died(self, now: float) -> bool:
        """Note a death; returns whether the budget has been spent by it."""
        self._deaths.append(now)
        full = len(self._deaths) == self._deaths.maxlen and self._deaths[0] > now - self._window_s
        if not full or self.spent_at is not None:
            return False
        self.spent_at = now
        return True

    def forgive(self) -> None:
        """There is all of it again."""
        self._deaths.clear()
        self.spent_at = None
