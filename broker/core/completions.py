"""How fast a pool completes requests, for the waits that callers are told.

Measured over windows of a second or more in which something always waited: only then is it what the pool can do, and not
what it was asked. Until there was such a window: the slots of its workers by the mean time of a request.
"""

from __future__ import annotations

WINDOW_S = 1.0
"""The rate is renewed about so often."""

MIN_COMPLETED = 8
"""Fewer completions than this say nothing yet: the window of a slow pool lasts until it has them."""

RATE_WEIGHT = 0.5
"""Of the newest window."""

TIME_WEIGHT = 0.1
"""Of the newest request in the mean time."""


class Completions:
    """The rate of one pool."""

    __slots__ = ("_began", "_completed", "_mean_s", "_measured", "slots")

    def __init__(self) -> None:
        self.slots = 0
        self._measured: float | None = None
        self._mean_s: float | None = None
        self._began: float | None = None
        self._completed = 0

    @property
    def rate(self) -> float | None:
        """Requests per second; None where nothing is known."""
        if self._measured is not None:
            return self._measured
        return self.slots / self._mean_s if self._mean_s and self.slots else None

    @property
    def mean_s(self) -> float | None:
        """Seconds that a request takes a worker; None where nothing is known."""
        return self._mean_s

    def staffed(self, slots: int) -> None:
        """So many slots there are now; with others than before the rate is another."""
        if slots != self.slots:
            self.slots = slots
            self._measured = self._began = None

    def completed(self, took_s: float, backlog: bool, now: float) -> None:
        """A request was answered, after so many seconds of its worker's time; `backlog`: others wait."""
        mean_s = self._mean_s
        self._mean_s = took_s if mean_s is None else mean_s + TIME_WEIGHT * (took_s - mean_s)
        if not backlog:
            self._began = None
        elif self._began is None:
            self._began = now
            self._completed = 0
        else:
            self._completed += 1
            if now - self._began >= WINDOW_S and self._completed >= MIN_COMPLETED:
                self._close(now - self._began)
                self._began = now
                self._completed = 0

    def _close(self, lasted_s: float) -> None:
        rate = self._completed / lasted_s
        self._measured = rate if self._measured is None else self._measured + RATE_WEIGHT * (rate - self._measured)
