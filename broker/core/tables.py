"""What the broker says of itself: the rows of `pools()`, `workers()`, `status`. Read only."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec

from maitred.broker.core.agent import Starting
from maitred.broker.core.books import pressure
from maitred.broker.core.deaths import WANTED, Death
from maitred.broker.core.model import Request, Worker
from maitred.broker.core.operations import name_of
from maitred.broker.core.pool import Pool
from maitred.broker.core.readiness import why_not_ready
from maitred.broker.core.session import Session
from maitred.broker.core.session_words import row
from maitred.broker.core.state import State
from maitred.broker.core.words import describe
from maitred.protocol.messages import LEVELS, PRIORITIES

MAX_ROWS = 10_000
"""Of the table of requests: some megabytes, and some tens of milliseconds of the broker."""

RequestFilter = Callable[[Request], bool]
SessionFilter = Callable[[Session], bool]

WORDS = {number: word for word, number in PRIORITIES.items()}


def pools(state: State, now: float) -> list[dict[str, Any]]:
    """One row a pool."""
    return [_pool(state, pool, now) for pool in state.pools.values()]


def readiness(state: State, _now: float) -> dict[str, Any]:
    """Whether each pool can serve just now, with the reason where it cannot; and whether any can."""
    reasons = {pool.name: why_not_ready(pool) for pool in state.pools.values()}
    if state.draining or state.leaving:
        reasons = dict.fromkeys(reasons, "the broker is shutting down")
    rows = {name: {"ready": True} if why is None else {"ready": False, "reason": why} for name, why in reasons.items()}
    return {"ready": None in reasons.values(), "pools": rows}


def workers(state: State, now: float, sees: RequestFilter | None = None) -> list[dict[str, Any]]:
    """One row a worker, those that are starting included. Ages in seconds, sizes in bytes.

    `sees` says of a request whether it is shown what a worker is at; None: all are.
    """
    return list(each_worker(state, now, sees))


def each_worker(state: State, now: float, sees: RequestFilter | None = None) -> Iterator[dict[str, Any]]:
    """The same, one after another: for who wants the first ones only."""
    for pool in state.pools.values():
        for worker in pool.workers.values():
            yield _worker(state, worker, now, sees)
        for worker_id, starting in pool.starting.items():
            yield _starting(worker_id, starting, now)


def requests(state: State, now: float, sees: RequestFilter | None = None, most: int = MAX_ROWS) -> list[dict[str, Any]]:
    """One row a request that is unanswered, the oldest first, so many at most; of those that are seen, where not all."""
    chosen = itertools.islice(filter(sees, state.requests.values()), most)
    return [_request(request, now) for request in chosen]


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


def sessions(state: State, now: float, sees: SessionFilter | None = None, most: int = MAX_ROWS) -> list[dict[str, Any]]:
    """One row a session, the oldest first, so many at most; metadata as the opener gave it. `sees` as of requests."""
    known = (session for session in filter(sees, state.sessions.values()) if not session.supposed)
    return [row(session, now) for session in itertools.islice(known, most)]


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
        "limits": state.observed,
        "counts": dict(sorted(state.counts.items())),
    }


def deaths(state: State, now: float, most: int = MAX_ROWS) -> list[dict[str, Any]]:
    """One row a worker that died, the last one first: its certificate. `ended` in seconds ago, sizes in bytes."""
    return [_death(worker, death, now) for worker, death in state.deaths.newest_first()[:most]]


def _pool(state: State, pool: Pool, now: float) -> dict[str, Any]:
    agents = state.agents_of(pool)
    reason = why_not_ready(pool)
    ended = {cause: count for cause, count in pool.deaths.items() if cause != WANTED}
    states = [worker.state for worker in pool.workers.values()]
    oldest = pool.queue.oldest()
    rate = pool.pace.rate(now)
    return {
        "name": pool.name,
        "available": states.count("idle"),
        "busy": states.count("busy"),
        "starting": sum(not one.spare for one in pool.starting.values()),
        "spares": sum(one.spare for one in pool.starting.values()),
        "retiring": states.count("draining"),
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
        "size": sum(agent.size for agent in agents),
        "least": sum(agent.least for agent in agents),
        "most": sum(agent.most for agent in agents),
        "agents": len(agents),
        "paused": pool.paused,
        "draining": bool(pool.closed),
        "ready": reason is None,
        "reason": reason,
        "utilisation": pool.health.utilisation,
        "memory": _words(agent.memory for agent in agents),
        "memory_limit": pool.settings.memory_limit_bytes,
        "gpus": _words(agent.gpus for agent in agents),
        "restarts": sum(ended.values()),
        "restarts_by_cause": ended,
    }


def _words(said: Iterable[str]) -> str | None:
    """What the agents say, each thing once."""
    return ", ".join(dict.fromkeys(word for word in said if word)) or None


def _death(worker: bytes, death: Death, now: float) -> dict[str, Any]:
    it = death.certificate
    return {
        "worker": it.worker or worker.hex(),
        "pool": death.pool,
        "cause": it.cause,
        "signal": it.signal,
        "exit_code": it.exit_code,
        "age": it.age,
        "served": it.served,
        "peak_rss": it.peak_rss,
        "memory": it.memory,
        "memory_limit": it.memory_limit,
        "gpu_bytes": it.gpu_bytes,
        "stderr": it.stderr,
        "note": it.note,
        "host": it.host,
        "pid": it.pid,
        "ended": now - death.at,
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
        "principal": request.identity.principal.account or None,
        "worker": worker.id.hex() if worker else None,
        "stopping": request.cancelled or None,
    }


def _starting(worker_id: bytes, starting: Starting, now: float) -> dict[str, Any]:
    agent = starting.agent
    return {
        "id": worker_id.hex(),
        "pool": agent.pool.name,
        "host": agent.host,
        "pid": starting.pid,
        "state": "spare" if starting.spare else "starting",
        "rss": starting.tree_rss or None,
        "gpu": starting.gpu or None,
        "gpu_bytes": starting.gpu_bytes or None,
        "gpu_use": starting.gpu_use,
        "requests": 0,
        "request": None,
        "request_age": None,
        "age": now - starting.since,
        "agent": True,
        "sessions": 0,
        "note": None,
    }


def _worker(state: State, worker: Worker, now: float, sees: RequestFilter | None) -> dict[str, Any]:
    retirement = worker.retirement
    current = next(iter(worker.held.values()), None)
    begun_at = current.dispatched_at if current else now
    if worker.at is not None and worker.at[0] in worker.held:  # as it says itself, at its last beat
        current, begun_at = worker.held[worker.at[0]], worker.at[1]
    if sees is not None and current is not None and not sees(current):
        current = None
    note = f"{retirement.cause}: {retirement.note}" if retirement else worker.problem
    return {
        "id": worker.id.hex(),
        "pool": worker.pool.name,
        "host": worker.host,
        "pid": worker.pid,
        "state": worker.state,
        "rss": max(worker.tree_rss, worker.rss) or None,  # a control group counts nothing that was there before it
        "gpu": worker.gpu or None,
        "gpu_bytes": worker.gpu_bytes or None,
        "gpu_use": worker.gpu_use,
        "requests": worker.served,
        "request": f"{current.command} {name_of(current)}" if current else None,
        "request_age": max(now - begun_at, 0.0) if current else None,
        "cpu": worker.cpu,
        "lag": worker.lag_s,
        "age": now - worker.registered_at,
        "held": worker.load,
        "sessions": len(worker.sessions),
        "prefetch": worker.prefetch,
        "slots": worker.slots,
        "agent": state.agent_of(worker) is not None,
        "note": (note or None) if sees is None else None,  # it may quote what others' requests did there
    }


TABLES: Final[dict[str, Callable[[State, float], Any]]] = {
    "pools": pools,
    "workers": workers,
    "requests": requests,
    "sessions": sessions,
    "quarantine": quarantine,
    "deaths": deaths,
    "broker": broker,
    "readiness": readiness,
}
"""What QUERY may ask for."""
