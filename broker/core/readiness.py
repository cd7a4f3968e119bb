"""Whether a pool serves: from what it does, and not from what it says.

    not ready    it refuses or holds back what comes, no worker is there, all that are there are suspect, or it is stalled
    stalled      there is work, and a worker, and nothing is answered: alive, but consuming nothing

Running is consuming, as long as it is within its time: a pool whose requests may take ten minutes is given ten minutes, and
its health interval besides, before it counts as stalled. What does not stop though it was told to, or waits beside idle
workers, is not.
"""

from __future__ import annotations

from collections.abc import Iterator

from maitred.broker.core.pool import Pool
from maitred.broker.core.state import State


def why_not_ready(pool: Pool) -> str | None:
    """The reason, in words; None: it is ready. A pool that sleeps with no worker is, where its agent may start one."""
    if pool.closed:
        return f"draining: {pool.closed}"
    if pool.paused:
        return "paused"
    if not pool.workers:
        return _why_empty(pool)
    if all(worker.state == "suspect" for worker in pool.workers.values()):
        return f"all workers are suspect ({len(pool.workers)})"
    if all(worker.draining for worker in pool.workers.values()):
        return "all workers are about to go"
    return pool.health.stalled or None


def _why_empty(pool: Pool) -> str | None:
    if pool.degraded:
        return f"degraded: {pool.degraded}"
    starting = sum(not one.spare for one in pool.starting.values())
    if starting:
        return f"no worker is ready yet, {starting} are starting"
    return None if pool.dynamic else "no worker"


def watch(state: State, pool: Pool, now: float) -> None:
    """Find out whether a pool is stalled. To be called about once a second."""
    it = pool.health
    before = it.stalled
    if not pool.load or pool.paused:
        it.waits_since = now
    elif all(worker.draining for worker in pool.workers.values()):
        it.waits_since += now - it.seen_at  # nobody is there to do it: that is another reason
    it.seen_at = now
    it.stalled = _why_stalled(pool, now)
    if it.stalled and not before:
        state.note("pool.stalled", pool=pool.name, reason=it.stalled)
    elif before and not it.stalled:
        state.note("pool.recovered", pool=pool.name)


def _why_stalled(pool: Pool, now: float) -> str:
    silent_s = now - max(pool.pace.last_at, pool.health.waits_since)
    interval_s = pool.settings.health_check_interval_s
    if not pool.load or not pool.workers or pool.paused or silent_s <= interval_s:
        return ""
    if silent_s <= interval_s + max(_times_s(pool), default=0.0):
        return ""
    return f"nothing was answered for {silent_s:.0f} s, with {pool.queued} queued and {pool.held} with workers"


def _times_s(pool: Pool) -> Iterator[float]:
    """How long each request that is with a worker may take there; what was told to stop and does not counts no more."""
    for worker in pool.workers.values():
        for key, request in (*worker.abandoned.items(), *worker.held.items()):
            if request is not None and key not in worker.stuck:
                yield request.deadline - request.dispatched_at
