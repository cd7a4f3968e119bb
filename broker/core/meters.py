"""What only the core can count, kept as plain numbers: how requests ended, how long they took and waited.

accepted = ended, by code + unanswered        `check` asks for that after each step of a test
a request's time                              from when it was received to its answer, whatever that was
its wait                                      from when it was received to when it was first given to a worker

Whatever the tables know (`tables`) is read from there and is not counted twice: what went well is `Pool.completed`, the
causes of deaths are `Pool.deaths`. What is made of the numbers for a scraper is not known here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from msgspec import Struct

from maitred.protocol.errors import Code

__all__ = ["BOUNDS_S", "GONE", "MEANS", "OTHER", "Ended", "Histogram", "Meters", "count_ended", "known"]

BOUNDS_S = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0
)  # fmt: skip
"""Upper bounds of the buckets, in seconds: from the round trip of an empty call to the longest time-out that a bundled pool
has. They are the same for all pools, and for good: a quantile over several brokers needs equal ones."""

GONE = "client_lost"
"""Stands for a code where a request ended unanswered, as its client was gone."""

OTHER = "other"
"""Stands for a word that a peer chose and that is none of ours: what a peer says makes no new series."""

MEANS = ("agent", "connection", "silence")
"""How a worker's death is found out: its agent says so, its connection is closed, or nothing is heard of it."""

_CODES = frozenset(str(code) for code in Code)


class Histogram:
    """How many values were at most as large as each bound, and their sum. 120 ns a value."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...] = BOUNDS_S) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """By bucket, and not of all buckets below; the last is for what is larger than every bound."""
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value, which is not negative."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """Of all values."""
        return sum(self.counts)


class Meters:
    """Of one pool.

    Attributes:
        durations: seconds of each accepted request that has ended.
        waits: seconds until each accepted request was first given to a worker; who never was is not in it.
        failed: accepted requests that did not end well, by code (GONE among them).
        refused: requests that were not accepted, by code.
        sheds: of these, those that were refused for want of room, by reason.
        sessions: what happened to sessions: opened, moved, resumed, lost, closed, expired.
        batches: given to workers.
        batched: requests in them.
    """

    __slots__ = ("batched", "batches", "durations", "failed", "refused", "sessions", "sheds", "waits")

    def __init__(self) -> None:
        self.durations = Histogram()
        self.waits = Histogram()
        self.failed: dict[str, int] = {}
        self.refused: dict[str, int] = {}
        self.sheds: dict[str, int] = {}
        self.sessions: dict[str, int] = {}
        self.batches = 0
        self.batched = 0

    def fail(self, code: str, took_s: float) -> None:
        """An accepted request has ended with this code, which may be a worker's own word."""
        add(self.failed, code if code in _CODES or code == GONE else OTHER)
        self.durations.observe(took_s)


class Ended(Struct, frozen=True):
    """An accepted request that the broker itself ended: how, and when it was received. Counted when its step ends."""

    meters: Meters
    code: str
    received_at: float


def count_ended(ended: list[Ended], now: float) -> None:
    """Count these, and forget them."""
    for one in ended:
        one.meters.fail(one.code, now - one.received_at)
    ended.clear()


def add(counts: dict[str, int], word: str, count: int = 1) -> None:
    """Count under a word."""
    counts[word] = counts.get(word, 0) + count


def known(counts: dict[str, int], words: Iterable[str]) -> dict[str, int]:
    """The same with all these words, and with all others under OTHER."""
    found = dict.fromkeys(words, 0)
    for word, count in counts.items():
        add(found, word if word in found else OTHER, count)
    return found
