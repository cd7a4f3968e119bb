"""Where a request stands in the books, and how it leaves them. The only place that changes the counts of requests."""

from __future__ import annotations

from maitred.broker.core.line import Line
from maitred.broker.core.model import Client, Key, Request, Worker
from maitred.broker.core.pool import Pool
from maitred.broker.core.pressure import level_of
from maitred.broker.core.queue import Queue
from maitred.broker.core.session import Session
from maitred.broker.core.state import State
from maitred.protocol import limits, messages
from maitred.protocol.messages import LEVELS


def enter(state: State, client: Client, request: Request) -> None:
    """A request is accepted."""
    state.requests[request.key] = request
    state.deadlines.add(request.deadline, request)
    client.waiting[request.key[1]] = request
    account = request.identity.account
    account.in_flight += 1
    account.size += request.size
    request.pool.size += request.size
    state.size += request.size


def park(request: Request) -> None:
    """It waits for its session's owner, behind those of the session that came before."""
    session = request.session
    assert session is not None
    if session.lines is None:
        session.lines = Line()
    session.lines.push(request)
    request.pool.parked += 1


def unqueue(state: State, request: Request) -> None:
    """Take it out of where it waits."""
    session, pool = request.session, request.pool
    if session is None:
        pool.queue.remove(request)
        return
    pool.parked -= 1
    if session.current is request:
        _leave_owners_queue(session, request)
        session.current = None
        state.freed.append(session)
    else:
        assert session.lines is not None
        session.lines.remove(request)


def call_up(session: Session, owner: Worker) -> None:
    """The session's next request gets its turn at the owner's."""
    assert session.lines is not None
    request = session.current = session.lines.first()
    session.lines.remove(request)
    if owner.queue is None:
        owner.queue = Queue()
    first = not owner.queue
    owner.queue.push(request)
    request.pool.owing[owner] = None
    if first:  # nothing is sent ahead to a worker at which something waits that may go nowhere else
        request.pool.ready.place(owner)


def send_back(session: Session) -> None:
    """The request whose turn it was waits again: its session has no owner now. It was with none, or has left it."""
    request = session.current
    assert request is not None
    if request in (session.worker.queue or () if session.worker else ()):
        _leave_owners_queue(session, request)
    else:
        request.pool.parked += 1
    if session.lines is None:
        session.lines = Line()
    session.lines.give_back(request)
    session.current = None


def _leave_owners_queue(session: Session, request: Request) -> None:
    owner = session.worker
    assert owner is not None
    assert owner.queue is not None
    owner.queue.remove(request)
    if not owner.queue:
        del request.pool.owing[owner]
        request.pool.ready.place(owner)


def take_owned(pool: Pool, owner: Worker) -> Request:
    """Take the next request out of an owner's queue, to be handed over to it: its place by load is found then."""
    assert owner.queue is not None
    request = owner.queue.pop()
    if not owner.queue:
        del pool.owing[owner]
    pool.parked -= 1
    return request


def enter_worker(request: Request, worker: Worker, expected_s: float, now: float) -> None:
    """It is given to a worker: with a slot of its own, or its batch's."""
    if not request.dispatched_at:  # when it is given to another one later, its wait was counted
        request.pool.meters.waits.observe(now - request.received_at)
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
    pool = request.pool
    pool.held += 1
    if pool.held > pool.peak:
        pool.peak = pool.held


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
    account = request.identity.account
    account.in_flight -= 1
    account.size -= request.size
    request.pool.size -= request.size
    state.size -= request.size
    party = state.parties.get(request.peer)
    if isinstance(party, Client):
        party.waiting.pop(request.key[1], None)
    if request.session is not None:
        _free(state, request.session, request)


def _free(state: State, session: Session, request: Request) -> None:
    if session.current is request:
        session.current = None
        state.freed.append(session)


def abandon(state: State, request: Request) -> Worker:
    """Close one whose worker is not done with it: there it still takes its slot."""
    worker, batch, session = request.worker, request.batch, request.session
    assert worker is not None
    request.batch = request.session = None  # it stays in its batch, and keeps its session's turn
    close(state, request)
    request.batch, request.session = batch, session
    request.body = ()
    worker.abandoned[request.key] = request
    return worker


def forget_abandoned(state: State, worker: Worker, key: Key) -> bool:
    """The worker is done with one that was abandoned; False where it is none."""
    if key not in worker.abandoned:
        return False
    request = worker.abandoned.pop(key)
    worker.stuck.pop(key, None)
    if request is not None:
        _leave_batch(worker, request)
        if request.session is not None:
            _free(state, request.session, request)
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
    state.note("pool.pressure", pool=pool.name, level=LEVELS[level], queued=pool.queued)
    for peer, request_id in pool.watchers:
        state.send(peer, pressure(pool, request_id, now))


def pressure(pool: Pool, request_id: int, now: float) -> messages.Pressure:
    """What a watcher is told."""
    interval = pool.pace.interval_s(now)
    short = pool.load + pool.outside.expected + 1 - pool.settings.max_queue
    wait = min(short * interval[1], limits.MAX_RETRY_AFTER_S) if interval and short > 0 else None
    return messages.Pressure(request_id, pool.name, pool.level, pool.queued, pool.settings.max_queue, wait)
