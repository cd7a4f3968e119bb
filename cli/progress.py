"""How far an operation on workers has come, told from the broker's tables alone. Pure: `cli.operate` asks and waits."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from maitred.cli.listing import Rows

__all__ = ["Goal", "Stand", "gone", "quiet", "ready", "recycled", "scaled", "serving"]

READY = ("idle", "busy")
"""States of workers that take requests."""

SHOWN = 3
"""Workers that are named; the others are counted."""


@dataclass(frozen=True)
class Stand:
    """Where it stands.

    Attributes:
        done: whether it is over.
        text: how far it is, in words.
        hopeless: why it will not be done by waiting; empty where it may be.
    """

    done: bool
    text: str
    hopeless: str = ""


Goal = Callable[[Rows, Rows], Stand]
"""Tells from the tables `pools` and `workers` where an operation stands."""


def ready(workers: Iterable[dict[str, Any]]) -> Rows:
    """Those that take requests."""
    return [row for row in workers if row["state"] in READY]


def scaled(pool: str, size: int) -> Goal:
    """A pool has so many workers that take requests, and nobody is starting or leaving."""

    def stand(pools: Rows, workers: Rows) -> Stand:
        ours = [row for row in workers if row["pool"] == pool and row["state"] != "spare"]
        count, others = len(ready(ours)), [row for row in ours if row["state"] not in READY]
        hopeless = _degraded(pools, pool) if count < size else ""
        return Stand(count == size and not others, f"{count} of {size} workers are ready{_named(others)}", hopeless)

    return stand


def recycled(pools_of: Collection[str], before: Collection[str], size: int) -> Goal:
    """None of these workers is left, and there are `size` that take requests in their pools, of those that have an agent.

    One without an agent has nobody who replaces it.
    """

    def stand(pools: Rows, workers: Rows) -> Stand:
        left = [row for row in workers if row["id"] in before]
        count = len(ready(row for row in workers if row["pool"] in pools_of and row.get("agent")))
        text = f"{len(before) - len(left)} of {len(before)} workers are replaced{_named(left)}"
        hopeless = "; ".join(filter(None, (_degraded(pools, name) for name in pools_of)))
        return Stand(not left and count >= size, text, hopeless)

    return stand


def gone(worker: str) -> Goal:
    """This worker is not there any more."""

    def stand(_pools: Rows, workers: Rows) -> Stand:
        left = [row for row in workers if row["id"] == worker]
        return Stand(not left, f"the worker is there still{_named(left)}")

    return stand


def quiet(names: Collection[str], *, queue: bool) -> Goal:
    """Nothing runs in these pools and, with `queue`, nothing waits either."""

    def stand(pools: Rows, workers: Rows) -> Stand:
        busy = [row for row in workers if row["pool"] in names and row.get("held")]
        queued = sum(row["queued"] for row in pools if row["name"] in names) if queue else 0
        waiting = f", queued requests: {queued}" if queued else ""
        return Stand(not busy and not queued, f"busy workers: {len(busy)}{_named(busy)}{waiting}")

    return stand


def serving(names: Collection[str]) -> Goal:
    """These pools are ready."""

    def stand(pools: Rows, _workers: Rows) -> Stand:
        reasons = [f"pool {row['name']!r}: {row['reason']}" for row in pools if row["name"] in names and row["reason"]]
        return Stand(not reasons, "; ".join(reasons))

    return stand


def _named(rows: Rows) -> str:
    words = [f"{row['id'][:8]} is {row['state']}" for row in rows[:SHOWN]]
    more = [f"{len(rows) - SHOWN} more"] if len(rows) > SHOWN else []
    return f" ({', '.join(words + more)})" if words else ""


def _degraded(pools: Rows, name: str) -> str:
    reasons = [row["degraded"] for row in pools if row["name"] == name and row.get("degraded")]
    return f"the pool is degraded: {reasons[0]}" if reasons else ""
