"""Where a request stands in the books, and how it leaves them. The only place that changes the counts of requests."""

from __future__ import annotations

from maitred.broker.core.model import Client, Key, Request, Worker
from maitred.broker.core.pool import Pool
from maitred.broker.core.pressure import level_of
from maitred.broker.core.state import State
from maitred.protocol import limits, messages
from maitred.protocol.messages import LEVELS


def enter(state: State, client: Client, request: Request) -> None:
    """A request is accepted."""
    state.requests[request.key] = request
    state.deadlines.add(request.deadline, request)
    client.waiting[request.key[1]] = request
    request.identity.in_flight += 1
    request.pool.size += request.size
    state.size += request.size


def enter_worker(request: Request, worker: Worker, expected_s: float, now: float) -> None:
    """It is given to a worker: with a slot of its own, or its batch's."""
    request.worker = worker
    request.dispatched_at = now
    request.expected_s = expected_s
    batch = request.batch
    if batch is not None:
        batch.entered += 1
        if batch.entered > 1:
            worker.surplus += 1
            request.expected_s = 0.0  # its batch's time was counted with the first of it
    worker.expected_s += request.expected_s
    worker.held[request.key] = request
    request.pool.held += 1


def leave_worker(request: Request) -> None:
    """Take it from its worker, where it is with one; a batch gives its slot back with its last request."""
    worker = request.worker
    if worker is None:
        return
    del worker.held[request.key]
    worker.expected_s = worker.expected_s - request.expected_s if worker.held else 0.0
    _leave_batch(worker, request)
    request.pool.held -= 1
    request.worker = None
    request.recalled = False


def close(state: State, request: Request) -> None:
    """It is being answered, or nobody waits for it: the one way out of the books."""
    leave_worker(request)
    del state.requests[request.key]
    state.deadlines.discard(request.deadline, request)
    request.identity.in_flight -= 1
    request.pool.size -= request.size
    state.size -= request.size
    party = state.parties.get(request.peer)
    if isinstance(party, Client):
        party.waiting.pop(request.key[1], None)


def abandon(state: State, request: Request) -> Worker:
    """Close one whose worker is not done with it: there it still takes its slot."""
    worker, batch = request.worker, request.batch
    assert worker is not None
    request.batch = None  # it stays in its batch
    close(state, request)
    request.batch = batch
    request.body = ()
    worker.abandoned[request.key] = request
    return worker


def forget_abandoned(worker: Worker, key: Key) -> bool:
    """The worker is done with one that was abandoned; False where it is none."""
    if key not in worker.abandoned:
        return False
    request = worker.abandoned.pop(key)
    worker.stuck.pop(key, None)
    if request is not None:
        _leave_batch(worker, request)
    return True


def _leave_batch(worker: Worker, request: Request) -> None:
    batch, request.batch = request.batch, None
    if batch is not None:
        batch.left -= 1
        if batch.left:
            worker.surplus -= 1


def judge(state: State, pool: Pool, now: float, *, refused: bool = False) -> None:
    """See how full a pool is, and tell those who watch it where that changed."""
    level = level_of(pool.level, pool.fill(now), refused, now - pool.level_since)
    if level == pool.level:
        if refused:
            pool.level_since = now
        return
    pool.level = level
    pool.level_since = now
    state.note("pool.pressure", pool=pool.name, level=LEVELS[level], queued=len(pool.queue))
    for peer, request_id in pool.watchers:
        state.send(peer, pressure(pool, request_id, now))


def pressure(pool: Pool, request_id: int, now: float) -> messages.Pressure:
    """What a watcher is told."""
    interval = pool.pace.interval_s(now)
    short = pool.load + pool.outside.expected + 1 - pool.settings.max_queue
    wait = min(short * interval[1], limits.MAX_RETRY_AFTER_S) if interval and short > 0 else None
    return messages.Pressure(request_id, pool.name, pool.level, len(pool.queue), pool.settings.max_queue, wait)
