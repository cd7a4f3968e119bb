"""What the broker says of itself: the rows of `pools()`, `workers()`, `status`. Read only."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Final

import msgspec

from maitred.broker.core.books import pressure
from maitred.broker.core.model import Request, Worker
from maitred.broker.core.operations import name_of
from maitred.broker.core.pool import Pool
from maitred.broker.core.session_words import row
from maitred.broker.core.state import State
from maitred.broker.core.words import describe
from maitred.protocol.messages import LEVELS, PRIORITIES

MAX_ROWS = 10_000
"""Of the table of requests: some megabytes, and some tens of milliseconds of the broker."""

WORDS = {number: word for word, number in PRIORITIES.items()}


def pools(state: State, now: float) -> list[dict[str, Any]]:
    """One row a pool."""
    return [_pool(pool, now) for pool in state.pools.values()]


def workers(state: State, now: float) -> list[dict[str, Any]]:
    """One row a worker, those that are starting included. Ages in seconds, sizes in bytes."""
    return [row for pool in state.pools.values() for row in _workers(pool, now)]


def requests(state: State, now: float) -> list[dict[str, Any]]:
    """One row a request that is unanswered, the oldest first, at most MAX_ROWS."""
    return [_request(request, now) for request in itertools.islice(state.requests.values(), MAX_ROWS)]


def quarantine(state: State, now: float) -> list[dict[str, Any]]:
    """One row a fingerprint that is refused. Age in seconds since its last death."""
    return [
        {
            "fingerprint": entry.fingerprint,
            "pool": entry.pool,
            "command": entry.command,
            "deaths": entry.deaths,
            "last_cause": describe(entry.certificate),
            "certificate": msgspec.to_builtins(entry.certificate),
            "age": now - entry.died_at,
        }
        for entry in state.quarantine.entries.values()
        if entry.quarantined_at is not None
    ]


def sessions(state: State, now: float) -> list[dict[str, Any]]:
    """One row a session, the oldest first, at most MAX_ROWS; metadata as the opener gave it."""
    chosen = itertools.islice(state.sessions.values(), MAX_ROWS)
    return [row(session, now) for session in chosen if not session.supposed]


def broker(state: State, now: float) -> dict[str, Any]:
    """The broker itself."""
    return {
        "epoch": state.settings.epoch.hex(),
        "software": state.settings.software,
        "uptime": now - state.started_at,
        "draining": state.draining,
        "clients": state.clients,
        "requests": len(state.requests),
        "bytes": state.size,
        "max_bytes": state.settings.max_queued_bytes,
        "counts": dict(sorted(state.counts.items())),
    }


def _pool(pool: Pool, now: float) -> dict[str, Any]:
    states = [worker.state for worker in pool.workers.values()]
    oldest = pool.queue.oldest()
    rate = pool.pace.rate(now)
    return {
        "name": pool.name,
        "available": states.count("idle"),
        "busy": states.count("busy"),
        "starting": len(pool.starting),
        "suspect": states.count("suspect"),
        "total": len(states),
        "queued": pool.queued,
        "max_queue": pool.settings.max_queue,
        "bytes": pool.size,
        "max_bytes": pool.settings.max_queue_bytes,
        "level": LEVELS[pool.level],
        "retry_after": pressure(pool, 0, now).retry_after,
        "rate": rate,
        "expected_wait": len(pool.queue) / rate if rate else None,
        "sessions": len(pool.sessions),
        "max_sessions": pool.settings.max_sessions,
        "waiting_outside": len(pool.outside),
        "places_kept": pool.outside.kept_word,
        "places_broken": pool.outside.broken,
        "oldest_wait": now - oldest.received_at if oldest else 0.0,
        "timeout": pool.settings.timeout_s,
        "commands": sorted(pool.commands),
        "completed": pool.completed,
        "failed": pool.failed,
        "refused": pool.refused,
        "service_time": (pool.pace.means_s or (None, None))[1],
        "degraded": pool.degraded or None,
    }


def _request(request: Request, now: float) -> dict[str, Any]:
    worker = request.worker
    return {
        "id": name_of(request),
        "pool": request.pool.name,
        "command": request.command,
        "state": "queued" if worker is None else "running",
        "age": now - request.received_at,
        "left": request.deadline - now,
        "priority": WORDS[request.priority],
        "attempt": request.attempt,
        "bytes": request.size,
        "client": request.identity.name or request.key[0].hex()[:8],
        "worker": worker.id.hex() if worker else None,
        "stopping": request.cancelled or None,
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
        "sessions": len(worker.sessions),
        "prefetch": worker.prefetch,
        "slots": worker.slots,
    }


TABLES: Final[dict[str, Callable[[State, float], Any]]] = {
    "pools": pools,
    "workers": workers,
    "requests": requests,
    "sessions": sessions,
    "quarantine": quarantine,
    "broker": broker,
}
"""What QUERY may ask for."""
