"""How many workers a pool needs: what it needed of late, and when and by how many it grows and shrinks.

    grow    when the oldest request that waits has waited `scale_up_after_s`: to as many as clear the queue within that
            time, going by what its requests take; to twice as many where nothing is known of that
    shrink  to the most that were needed at any moment of the last `scale_down_after_s`, so that load that comes and goes
            faster than that changes nothing

At most one change in `scale_cooldown_s`. Who starts or ends the workers is none of its concern (`fleet` is).
"""

from __future__ import annotations

import math
from collections import deque

from msgspec import Struct

from maitred.broker.core.settings import PoolSettings


class Demand(Struct, frozen=True):
    """What a pool looks like at one moment.

    Attributes:
        size: workers that its agents keep, those that are starting included.
        starting: those of them that are not ready yet.
        least, most: the bounds of `size`.
        needed: workers that were busy at a time since the last look, or that own sessions.
        waiting: requests that any worker may run, and that none has room for.
        oldest_wait_s: how long the oldest of them has waited.
        slots: requests that one worker runs at a time.
        service_s: what a request takes a worker, None where that is not known.
    """

    size: int
    starting: int
    least: int
    most: int
    needed: int
    waiting: int = 0
    oldest_wait_s: float = 0.0
    slots: int = 1
    service_s: float | None = None


class Sizing:
    """Decides for one pool. Times are the core's."""

    __slots__ = ("_changed_at", "_needed", "_settings", "_since")

    def __init__(self, settings: PoolSettings) -> None:
        self._settings = settings
        self._needed: deque[tuple[float, int]] = deque()  # of the window, each less than the one before
        self._since: float | None = None
        self._changed_at = -math.inf

    def decide(self, demand: Demand, now: float) -> int:
        """The size that the pool is to have from now on; a change is taken as done."""
        if self._since is None:
            self._since = now
        self._note(demand.size if demand.waiting else demand.needed, now)
        size = self._wanted(demand, now)
        if size != demand.size:
            self.changed(size, now)
        return size

    def changed(self, size: int, now: float) -> None:
        """The pool was given another size just now: it counts as needed, and the next change can wait."""
        self._changed_at = now
        self._note(size, now)

    def desired(self, demand: Demand) -> int:
        """How many would do for what there is just now, whatever its bounds and the time of the last change.

        Changes nothing. For scalers outside, which have bounds and a time to wait of their own.
        """
        return max(self._enough(demand), demand.size) if demand.waiting else demand.needed

    def _wanted(self, demand: Demand, now: float) -> int:
        bounded = min(max(demand.size, demand.least), demand.most)
        if now - self._changed_at < self._settings.scale_cooldown_s:
            return demand.size
        if bounded != demand.size:
            return bounded
        if demand.waiting:
            return max(demand.size, min(self._enough(demand), demand.most))
        return min(demand.size, max(self._most_needed(demand, now), demand.least))

    def _enough(self, demand: Demand) -> int:
        within_s = self._settings.scale_up_after_s
        if not demand.size:  # nobody is there whose pace the age could speak of
            return 1 if demand.service_s is None else max(self._clearing(demand, demand.service_s), 1)
        if demand.oldest_wait_s < within_s:
            return demand.size
        if demand.service_s is None:
            return demand.size if demand.starting else 2 * demand.size
        enough = self._clearing(demand, demand.service_s)
        return enough if demand.starting else max(enough, demand.size + 1)  # those there are did not suffice

    def _clearing(self, demand: Demand, service_s: float) -> int:
        return math.ceil(demand.waiting * service_s / (demand.slots * self._settings.scale_up_after_s))

    def _note(self, needed: int, now: float) -> None:
        while self._needed and self._needed[-1][1] <= needed:
            self._needed.pop()
        self._needed.append((now, needed))

    def _most_needed(self, demand: Demand, now: float) -> int:
        """In the last `scale_down_after_s`; all there are, where less than that is known."""
        window_s = self._settings.scale_down_after_s
        if self._since is None or now - self._since < window_s:
            return demand.size
        while self._needed[0][0] < now - window_s:
            self._needed.popleft()
        return self._needed[0][1]
