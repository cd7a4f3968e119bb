"""What a metric is: its name, kind, unit, labels and meaning, beside how it is read. A scrape reads all of them at once.

The families themselves are lists in `metrics_pools`, `metrics_workers` and `metrics_process`. Labels are words of which
there are few (pool, code, reason, cause, state, level, event, means); never ids, names of clients or commands, of which
there is no end: each combination is a series that a server keeps for weeks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, Final

from msgspec import Struct

from maitred.broker.core.meters import Histogram
from maitred.broker.core.pool import Pool
from maitred.broker.core.state import State
from maitred.broker.core.tables import pools

__all__ = [
    "COUNTER",
    "GAUGE",
    "HISTOGRAM",
    "INFO",
    "Crew",
    "Family",
    "Outside",
    "Sample",
    "Snapshot",
    "per_pool",
    "words",
]

COUNTER: Final = "counter"
"""Only grows, from 0 when the broker starts; its name ends in `_total`."""
GAUGE: Final = "gauge"
"""What is so just now."""
HISTOGRAM: Final = "histogram"
"""How many values were at most so large, by bucket, with their count and sum."""
INFO: Final = "info"
"""Always 1: what it says is in its labels; its name ends in `_info`."""


class Outside(Struct, frozen=True):
    """What is known outside of the core.

    Attributes:
        events: how often each event was.
        lag: seconds by which the loop's timer was late.
        rescues: how often a message was found waiting that would have woken nobody.
        refused: connections that were refused, by reason.
        build: what runs: the versions of maitred and of what it stands on.
    """

    events: Mapping[str, int] = {}
    lag: Histogram | None = None
    rescues: Callable[[], int] = lambda: 0
    refused: Mapping[str, int] = {}
    build: Mapping[str, str] = {}


STATES: tuple[str, ...] = ("starting", "spare", "idle", "busy", "draining", "suspect")
"""Of a worker, as tables say."""


class Crew:
    """The workers of one pool, added up: bytes, seconds, shares of 1."""

    def __init__(self, pool: Pool) -> None:
        self.slots = self.slots_taken = self.ahead = self.ahead_taken = 0
        self.rss = self.rss_most = self.gpu_bytes = 0
        self.lag_s = 0.0
        self.states: dict[str, int] = dict.fromkeys(STATES, 0)
        uses: list[float] = []
        for worker in pool.workers.values():
            self.states[worker.state] += 1
            load = worker.load
            self.slots += worker.slots
            self.slots_taken += min(load, worker.slots)
            self.ahead += worker.prefetch
            self.ahead_taken += max(load - worker.slots, 0)
            rss = max(worker.tree_rss, worker.rss)
            self.rss += rss
            self.rss_most = max(self.rss_most, rss)
            self.lag_s = max(self.lag_s, worker.lag_s)
            self.gpu_bytes += worker.gpu_bytes
            if worker.gpu:
                uses.append(min(worker.gpu_use, 1.0))  # it is what an agent says
        for starting in pool.starting.values():
            self.states["spare" if starting.spare else "starting"] += 1
        self.gpu_use = sum(uses) / len(uses) if uses else None


class Snapshot:
    """What one scrape reads from: all of it at one time, and nothing of it twice."""

    def __init__(self, state: State, now: float, outside: Outside) -> None:
        self.state = state
        self.now = now
        self.outside = outside

    @cached_property
    def pools(self) -> list[tuple[Pool, dict[str, Any], Crew]]:
        """Each with its row of the table of pools, and its workers added up."""
        rows = pools(self.state, self.now)
        return [(pool, row, Crew(pool)) for pool, row in zip(self.state.pools.values(), rows, strict=True)]


Sample = tuple[tuple[str, ...], float | Histogram]
"""The labels' values in their order, and the value; a Histogram where the family is one."""

Read = Callable[[Snapshot], Iterable[Sample]]


class Family(Struct, frozen=True):
    """One metric.

    Attributes:
        name: as it is scraped.
        kind: COUNTER, GAUGE, HISTOGRAM or INFO.
        text: what it says, in a sentence.
        labels: their names.
        read: gives its samples.
        unit: a base unit, which its name says too; "": a plain number.
    """

    name: str
    kind: str
    text: str
    labels: tuple[str, ...]
    read: Read
    unit: str = ""


def per_pool(get: Callable[[Pool, dict[str, Any], Crew], float | Histogram | None]) -> Read:
    """One sample a pool, with its name as the only label; none where there is nothing to say."""

    def read(snapshot: Snapshot) -> Iterator[Sample]:
        for pool, row, crew in snapshot.pools:
            value = get(pool, row, crew)
            if value is not None:
                yield (pool.name,), value

    return read


def words(get: Callable[[Pool, dict[str, Any], Crew], Mapping[str, float]]) -> Read:
    """One sample a pool and word."""

    def read(snapshot: Snapshot) -> Iterator[Sample]:
        for pool, row, crew in snapshot.pools:
            for word, value in get(pool, row, crew).items():
                yield (pool.name, word), value

    return read
