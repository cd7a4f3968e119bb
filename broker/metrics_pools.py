"""Metrics of pools: what became of requests, how long it took, what waits and how full it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from maitred.broker.core.meters import add
from maitred.broker.core.pool import Pool
from maitred.broker.metrics_families import COUNTER, GAUGE, HISTOGRAM, Crew, Family, Sample, Snapshot, per_pool, words
from maitred.protocol.errors import Code
from maitred.protocol.messages import LEVELS

__all__ = ["POOLS"]

NO_POOL = ""
"""Stands for the pool of a request whose pool there is not: a server takes an empty label for none."""


def _requests(snapshot: Snapshot) -> Iterator[Sample]:
    for pool, _, _ in snapshot.pools:
        counts = {"ok": pool.completed}
        for found in (pool.meters.failed, pool.meters.refused):
            for code, count in found.items():
                add(counts, code, count)
        for code, count in counts.items():
            yield (pool.name, code), count
    if snapshot.state.unknown_pools:
        yield (NO_POOL, str(Code.UNKNOWN_POOL)), snapshot.state.unknown_pools


def _level(pool: Pool, _row: dict[str, Any], _crew: Crew) -> dict[str, float]:
    return {word: float(number == pool.level) for number, word in enumerate(LEVELS)}


POOLS = (
    Family(
        "maitred_requests_total", COUNTER,
        "Requests that were answered, by how: `ok`, the code of the error, or `client_lost` where nobody was left to "
        "answer. Refused ones are among them. `pool` is empty where there is no such pool.",
        ("pool", "code"), _requests,
    ),
    Family(
        "maitred_requests_shed_total", COUNTER,
        "Of these, requests that were refused for want of room (`resource_exhausted`), by which bound was reached.",
        ("pool", "reason"), words(lambda pool, _, __: pool.meters.sheds),
    ),
    Family(
        "maitred_request_duration_seconds", HISTOGRAM,
        "From when the broker received a request to its answer, whatever that was; refused requests are not in it.",
        ("pool",), per_pool(lambda pool, _, __: pool.meters.durations), "seconds",
    ),
    Family(
        "maitred_queue_wait_seconds", HISTOGRAM,
        "From when the broker received a request to when a worker was first given it.",
        ("pool",), per_pool(lambda pool, _, __: pool.meters.waits), "seconds",
    ),
    Family(
        "maitred_batches_total", COUNTER, "Batches given to workers.",
        ("pool",), per_pool(lambda pool, _, __: pool.meters.batches),
    ),
    Family(
        "maitred_batched_requests_total", COUNTER, "Requests in these batches.",
        ("pool",), per_pool(lambda pool, _, __: pool.meters.batched),
    ),
    Family(
        "maitred_queue_requests", GAUGE, "Requests that wait for a worker.",
        ("pool",), per_pool(lambda pool, _, __: pool.queued),
    ),
    Family(
        "maitred_held_requests", GAUGE, "Requests that are with workers.",
        ("pool",), per_pool(lambda pool, _, __: pool.held),
    ),
    Family(
        "maitred_queue_limit_requests", GAUGE, "Bound of requests that wait or are with workers (`max_queue`).",
        ("pool",), per_pool(lambda pool, _, __: pool.settings.max_queue),
    ),
    Family(
        "maitred_queue_bytes", GAUGE, "Arguments of requests that wait or are with workers.",
        ("pool",), per_pool(lambda pool, _, __: pool.size), "bytes",
    ),
    Family(
        "maitred_queue_limit_bytes", GAUGE, "Bound of these (`max_queue_bytes`).",
        ("pool",), per_pool(lambda pool, _, __: pool.settings.max_queue_bytes), "bytes",
    ),
    Family(
        "maitred_queue_oldest_wait_seconds", GAUGE, "How long the oldest request in the queue has waited; 0 if none does.",
        ("pool",), per_pool(lambda _, row, __: row["oldest_wait"]), "seconds",
    ),
    Family(
        "maitred_pool_level", GAUGE, "How full the pool is: 1 for the level it has (`ok`, `high`, `full`), 0 for others.",
        ("pool", "level"), words(_level),
    ),
    Family(
        "maitred_pool_retry_after_seconds", GAUGE,
        "What a client that is refused now would be told to wait; 0 where none would be, or nobody can tell.",
        ("pool",), per_pool(lambda _, row, __: row["retry_after"] or 0.0), "seconds",
    ),
    Family(
        "maitred_pool_ready", GAUGE, "1 where the pool can serve, as `/readyz/POOL` says; else 0.",
        ("pool",), per_pool(lambda _, row, __: float(row["ready"])),
    ),
    Family(
        "maitred_pool_degraded", GAUGE, "1 where its workers cannot be started; else 0.",
        ("pool",), per_pool(lambda pool, _, __: float(bool(pool.degraded))),
    ),
    Family(
        "maitred_pool_paused", GAUGE, "1 where an operator has paused it; else 0.",
        ("pool",), per_pool(lambda pool, _, __: float(pool.paused)),
    ),
    Family(
        "maitred_pool_utilisation_ratio", GAUGE,
        "Share of its workers' time that was busy, from 0 to 1, as of the pool's last health interval.",
        ("pool",), per_pool(lambda pool, _, __: pool.health.utilisation), "ratio",
    ),
    Family(
        "maitred_sessions", GAUGE, "Sessions that are open.",
        ("pool",), per_pool(lambda pool, _, __: len(pool.sessions)),
    ),
    Family(
        "maitred_sessions_limit", GAUGE, "Bound of these (`max_sessions`).",
        ("pool",), per_pool(lambda pool, _, __: pool.settings.max_sessions),
    ),
    Family(
        "maitred_session_events_total", COUNTER,
        "What happened to sessions: `opened`, `moved` to another worker, `resumed` after a restart of the broker, `lost`, "
        "`closed`, `expired`.",
        ("pool", "event"), words(lambda pool, _, __: pool.meters.sessions),
    ),
)  # fmt: skip
"""Of each pool."""
