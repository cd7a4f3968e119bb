"""What the broker says of itself: the rows of `pools()`, `workers()`, `status`. Read only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from maitred.broker.core.model import Pool, Worker
from maitred.broker.core.state import State


def pools(state: State, now: float) -> list[dict[str, Any]]:
    """One row a pool."""
    return [_pool(pool, now) for pool in state.pools.values()]


def workers(state: State, now: float) -> list[dict[str, Any]]:
    """One row a worker, those that are starting included. Ages in seconds, sizes in bytes."""
    return [row for pool in state.pools.values() for row in _workers(pool, now)]


def broker(state: State, now: float) -> dict[str, Any]:
    """The broker itself."""
    return {
        "epoch": state.settings.epoch.hex(),
        "software": state.settings.software,
        "uptime": now - state.started_at,
        "draining": state.draining,
        "clients": state.clients,
        "requests": len(state.requests),
        "counts": dict(sorted(state.counts.items())),
    }


def _pool(pool: Pool, now: float) -> dict[str, Any]:
    states = [worker.state for worker in pool.workers.values()]
    oldest = next(iter(pool.queue), None)
    return {
        "name": pool.name,
        "available": states.count("idle"),
        "busy": states.count("busy"),
        "starting": len(pool.starting),
        "suspect": states.count("suspect"),
        "total": len(states),
        "queued": len(pool.queue),
        "max_queue": pool.settings.max_queue,
        "oldest_wait": now - oldest.received_at if oldest else 0.0,
        "timeout": pool.settings.timeout_s,
        "commands": sorted(pool.commands),
        "completed": pool.completed,
        "failed": pool.failed,
        "refused": pool.refused,
        "service_time": pool.service_s,
        "degraded": pool.degraded or None,
    }


def _workers(pool: Pool, now: float) -> list[dict[str, Any]]:
    rows = [_worker(worker, now) for worker in pool.workers.values()]
    for worker_id, starting in pool.starting.items():
        agent = starting.agent
        row = {"id": worker_id.hex(), "pool": pool.name, "host": agent.host, "pid": starting.pid, "state": "starting"}
        rows.append(
            row | {"rss": None, "requests": 0, "request": None, "request_age": None, "age": now - starting.since}
        )
    return rows


def _worker(worker: Worker, now: float) -> dict[str, Any]:
    current = next(iter(worker.held.values()), None)
    return {
        "id": worker.id.hex(),
        "pool": worker.pool.name,
        "host": worker.host,
        "pid": worker.pid,
        "state": worker.state,
        "rss": worker.rss or None,
        "requests": worker.served,
        "request": f"{current.command} {current.key[1]}" if current else None,
        "request_age": now - current.dispatched_at if current else None,
        "age": now - worker.registered_at,
        "held": worker.load,
        "prefetch": worker.prefetch,
        "slots": worker.slots,
    }


TABLES: Final[dict[str, Callable[[State, float], Any]]] = {"pools": pools, "workers": workers, "broker": broker}
"""What QUERY may ask for."""
