"""The last minutes of each pool, in numbers: what small charts are drawn from.

A rate is what was counted between two looks; a quantile is read off the histogram of what ended between them, within a
bucket by the straight line, as Prometheus' `histogram_quantile` does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from maitred.broker.core.pool import Pool
from maitred.broker.core.state import State

__all__ = ["FIELDS", "INTERVAL_S", "KEPT", "MAX_POOLS", "History", "quantile"]

INTERVAL_S = 2.0
"""Between two looks."""

KEPT = 300
"""Looks that are kept: ten minutes."""

MAX_POOLS = 64
"""Pools of which minutes are kept, the first ones of the configuration: a look at each takes some 20 µs, ten minutes of one
some 60 KB."""

FIELDS = ("arrivals", "completions", "failures", "shed", "p50", "p99", "queued", "busy", "workers")
"""Of a sample, in this order: requests a second that came, that were answered well, that failed, that were refused for want
of room; seconds; requests; workers."""


class _Counted(NamedTuple):
    came: int
    completed: int
    failed: int
    shed: int
    buckets: tuple[int, ...]


class History:
    """Samples of a core's pools."""

    def __init__(self) -> None:
        self.samples: dict[str, deque[tuple[float | None, ...]]] = {}
        self._before: dict[str, _Counted] = {}
        self._at = 0.0
        self.looks = 0
        """Taken so far."""

    def look(self, state: State, now: float) -> None:
        """Take one sample of each pool; the first of all only begins to count."""
        passed_s, self._at = now - self._at, now
        self.looks += 1
        pools = list(state.pools.values())[:MAX_POOLS]
        for name in self._before.keys() - {pool.name for pool in pools}:
            del self._before[name]
            self.samples.pop(name, None)
        for pool in pools:
            counted = _count(pool)
            before = self._before.get(pool.name)
            self._before[pool.name] = counted
            if before is not None and passed_s > 0:
                sample = _sample(pool, before, counted, passed_s)
                self.samples.setdefault(pool.name, deque(maxlen=KEPT)).append(sample)

    def last(self, pool: str) -> dict[str, float | None]:
        """The newest sample of a pool, by FIELDS; nothing where there is none yet."""
        samples = self.samples.get(pool)
        return dict(zip(FIELDS, samples[-1], strict=True)) if samples else {}

    def everything(self) -> dict[str, Any]:
        """All samples, the oldest first: pool, to a list of values for each of FIELDS."""
        return {
            pool: dict(zip(FIELDS, map(list, zip(*samples, strict=True)), strict=True))
            for pool, samples in self.samples.items()
        }


def quantile(share: float, counts: Sequence[int], bounds: Sequence[float]) -> float | None:
    """Below which value this share (0 to 1) of what was counted lies; None: nothing was.

    Args:
        share: as 0.99.
        counts: by bucket; one more than bounds, the last for what is above them all, which counts as the highest bound.
        bounds: of the buckets, from above.
    """
    total = sum(counts)
    if not total:
        return None
    rank, below = share * total, 0
    for place, count in enumerate(counts):
        if below + count >= rank and count:
            if place >= len(bounds):
                break
            least = bounds[place - 1] if place else 0.0
            return least + (bounds[place] - least) * (rank - below) / count
        below += count
    return bounds[-1]


def _count(pool: Pool) -> _Counted:
    meters = pool.meters
    came = pool.completed + pool.failed + pool.refused + pool.queued + pool.held
    return _Counted(came, pool.completed, pool.failed, sum(meters.sheds.values()), tuple(meters.durations.counts))


def _sample(pool: Pool, before: _Counted, now: _Counted, passed_s: float) -> tuple[float | None, ...]:
    counts = [new - old for new, old in zip(now.buckets, before.buckets, strict=True)]
    bounds = pool.meters.durations.bounds
    rates = [(new - old) / passed_s for new, old in zip(now[:4], before[:4], strict=True)]
    times = [quantile(share, counts, bounds) for share in (0.5, 0.99)]
    busy = _count_of(worker.state == "busy" for worker in pool.workers.values())
    return (*(max(rate, 0.0) for rate in rates), *times, pool.queued, busy, len(pool.workers))


def _count_of(them: Iterable[bool]) -> int:
    return sum(them)
