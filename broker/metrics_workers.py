"""Metrics of workers: who is there, what they take, how they died and how soon that was known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from maitred.broker.core.deaths import WANTED
from maitred.broker.core.meters import known
from maitred.broker.core.pool import Pool
from maitred.broker.metrics_families import COUNTER, GAUGE, HISTOGRAM, Crew, Family, Sample, Snapshot, per_pool, words
from maitred.protocol.messages import CAUSES

__all__ = ["WORKERS"]

_CAUSES = sorted(CAUSES)
_RESTARTS = [cause for cause in _CAUSES if cause != WANTED]


def _deaths(pool: Pool, _row: dict[str, Any], _crew: Crew) -> dict[str, int]:
    return known(pool.deaths, _CAUSES)


def _restarts(_pool: Pool, row: dict[str, Any], _crew: Crew) -> dict[str, int]:
    return known(row["restarts_by_cause"], _RESTARTS)


def _detections(snapshot: Snapshot) -> Iterator[Sample]:
    for means, histogram in snapshot.state.detections.items():
        yield (means,), histogram


def _quarantined(snapshot: Snapshot) -> Iterator[Sample]:
    counts = dict.fromkeys(snapshot.state.pools, 0)
    for entry in snapshot.state.quarantine.entries.values():
        if entry.quarantined_at is not None:
            counts[entry.pool] += 1
    for pool, count in counts.items():
        yield (pool,), count


def _gpu_bytes(_pool: Pool, _row: dict[str, Any], crew: Crew) -> int | None:
    return None if crew.gpu_use is None else crew.gpu_bytes


WORKERS = (
    Family(
        "maitred_workers", GAUGE,
        "Worker processes by state: `starting`, `spare` (ready to step in), `idle`, `busy`, `draining`, `suspect`.",
        ("pool", "state"), words(lambda _, __, crew: crew.states),
    ),
    Family(
        "maitred_workers_wanted", GAUGE, "Workers that the pool's agents are to keep; 0 where it has no agent.",
        ("pool",), per_pool(lambda _, row, __: row["size"]),
    ),
    Family(
        "maitred_agents", GAUGE, "Agents of the pool that are connected.",
        ("pool",), per_pool(lambda _, row, __: row["agents"]),
    ),
    Family(
        "maitred_worker_deaths_total", COUNTER, "Workers that have ended, by the cause in their certificate.",
        ("pool", "cause"), words(_deaths),
    ),
    Family(
        "maitred_worker_restarts_total", COUNTER,
        "Workers that had to be replaced, by the same causes: all ends but those that were wanted (`drain`).",
        ("pool", "reason"), words(_restarts),
    ),
    Family(
        "maitred_worker_detection_seconds", HISTOGRAM,
        "From the last sign of life of a worker that died to when the broker knew, by who told: its `agent`, its "
        "`connection`, its `silence`. It was dead for that long at most; one that beats each second had half of one on "
        "average since its last beat.",
        ("means",), _detections, "seconds",
    ),
    Family(
        "maitred_worker_slots", GAUGE, "Requests that the workers can run at a time.",
        ("pool",), per_pool(lambda _, __, crew: crew.slots),
    ),
    Family(
        "maitred_worker_slots_taken", GAUGE, "Of these slots, how many are taken.",
        ("pool",), per_pool(lambda _, __, crew: crew.slots_taken),
    ),
    Family(
        "maitred_worker_prefetch", GAUGE, "Requests that workers may hold beyond those that they run.",
        ("pool",), per_pool(lambda _, __, crew: crew.ahead),
    ),
    Family(
        "maitred_worker_prefetch_taken", GAUGE, "Of that room, how much is taken.",
        ("pool",), per_pool(lambda _, __, crew: crew.ahead_taken),
    ),
    Family(
        "maitred_worker_memory_bytes", GAUGE, "Memory of all workers and their children, added up.",
        ("pool",), per_pool(lambda _, __, crew: crew.rss), "bytes",
    ),
    Family(
        "maitred_worker_memory_most_bytes", GAUGE, "Memory of the largest worker.",
        ("pool",), per_pool(lambda _, __, crew: crew.rss_most), "bytes",
    ),
    Family(
        "maitred_worker_memory_limit_bytes", GAUGE,
        "Bound of the memory of one worker, as the broker's configuration has it (`memory_limit`). Absent where there is "
        "none.",
        ("pool",), per_pool(lambda pool, _, __: pool.settings.memory_limit_bytes), "bytes",
    ),
    Family(
        "maitred_worker_lag_seconds", GAUGE,
        "By how much the latest heartbeat of a worker was late in its own process, the worst of the pool: code that "
        "holds the interpreter, or a core that is shared.",
        ("pool",), per_pool(lambda _, __, crew: crew.lag_s), "seconds",
    ),
    Family(
        "maitred_gpu_memory_bytes", GAUGE, "GPU memory of all workers, added up. Absent where none has a GPU.",
        ("pool",), per_pool(_gpu_bytes), "bytes",
    ),
    Family(
        "maitred_gpu_utilisation_ratio", GAUGE,
        "How busy the workers' GPUs are, from 0 to 1, the mean of the workers. Absent where none has a GPU.",
        ("pool",), per_pool(lambda _, __, crew: crew.gpu_use), "ratio",
    ),
    Family(
        "maitred_quarantined_requests", GAUGE, "Fingerprints of requests that are refused as they killed workers.",
        ("pool",), _quarantined,
    ),
)  # fmt: skip
"""Of the workers of each pool."""
