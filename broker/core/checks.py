"""The core's books, recomputed: what is derived must agree with what it is derived from. For tests, after each step."""

from __future__ import annotations

import math

from maitred.broker.core.account import Account
from maitred.broker.core.model import Batch, Client, Request, Worker
from maitred.broker.core.pool import Pool
from maitred.broker.core.session import Session
from maitred.broker.core.state import State
from maitred.protocol.errors import Code


def check(state: State) -> None:
    """All of it; raises AssertionError."""
    for request in state.requests.values():
        _check_place(request)
        party = state.parties.get(request.peer)
        assert isinstance(party, Client)
        assert party.waiting[request.key[1]] is request
        assert state.identities[request.key[0]] is request.identity
    assert len(state.deadlines) == len(state.requests)
    assert state.size == sum(request.size for request in state.requests.values())
    ended = sum(pool.meters.durations.count for pool in state.pools.values())
    assert state.admitted == ended + len(state.requests)
    assert not state.ended
    for pool in state.pools.values():
        _check_pool(state, pool)
        _check_meters(pool)
    assert len(state.retirements) >= len(state.retiring)
    for worker in state.retiring:
        assert state.workers[worker.id] is worker
    for worker in state.workers.values():
        _check_retirement(state, worker)
    for agent in state.agents.values():
        assert agent.principal.supervise
        own = [state.workers[worker] for worker in agent.workers if worker in state.workers]
        assert all(worker.principal.is_same(agent.principal) for worker in own)
    for worker in state.stacked:
        assert state.workers[worker.id] is worker
    clients = [party for party in state.parties.values() if isinstance(party, Client)]
    assert state.clients == len(clients)
    for client_id, identity in state.identities.items():
        assert identity.connections == sum(client.id == client_id for client in clients) > 0
        account = identity.account
        if identity.principal.keyed:
            assert account is state.accounts[identity.principal.name]
            assert account.principal == state.principals[identity.principal.name] == identity.principal
        else:
            assert account.id == client_id
            _check_account(state, account)
    for name, account in state.accounts.items():
        assert account.id == name
        _check_account(state, account)
        assert account.sessions == sum(session.principal == name for session in state.sessions.values())
    for client in clients:
        assert client.principal.is_same(client.identity.principal)
        assert client.calls is state.calls_of(client.principal)
    watches = [(client.peer, watch, pool) for client in clients for watch, pool in client.watches.items()]
    assert all((peer, watch) in pool.watchers for peer, watch, pool in watches)
    assert len(watches) == sum(len(pool.watchers) for pool in state.pools.values())


def _check_meters(pool: Pool) -> None:
    it = pool.meters
    assert it.durations.count == pool.completed + sum(it.failed.values())
    assert it.waits.count <= it.durations.count + pool.load
    assert sum(it.sheds.values()) == it.refused.get(Code.RESOURCE_EXHAUSTED, 0)
    assert it.batches <= it.batched


def _check_account(state: State, account: Account) -> None:
    own = [request for request in state.requests.values() if request.identity.account is account]
    assert account.in_flight == len(own)
    assert account.size == sum(request.size for request in own)
    assert account.max_in_flight is None or account.in_flight <= account.max_in_flight


def _check_pool(state: State, pool: Pool) -> None:
    own = [request for request in state.requests.values() if request.pool is pool]
    held = [request for worker in pool.workers.values() for request in worker.held.values()]
    assert pool.held == len(held)
    parked = [r for r in own if r.session is not None and r.worker is None]
    assert pool.parked == len(parked)
    assert set(pool.owing) == {worker for worker in pool.workers.values() if worker.queue}
    for session in pool.sessions.values():
        _check_session(state, pool, session)
    assert pool.load == len(own)
    assert pool.size == sum(request.size for request in own)
    assert pool.load <= pool.settings.max_queue
    assert pool.size <= pool.settings.max_queue_bytes or pool.load == 1
    pool.queue.check()
    for worker in pool.workers.values():
        _check_worker(worker)
        assert (worker in pool.ready) == (worker.ready and not pool.paused)
        assert state.workers[worker.id] is worker
        assert state.parties[worker.peer] is worker
        assert worker.principal.may_serve(pool.name)
    least = pool.ready.least()
    for owner in pool.owing:
        assert owner.queue is not None
        expected_s = pool.service_times.expected(owner.queue.first().command)
        has_room = owner.has_room_for_its_own(owner.load) and owner.may_take(expected_s)
        assert not has_room or pool.paused, "a session waits while its owner has room"
    if pool.queue and least is not None and state.hold_until == math.inf:
        expected_s = pool.service_times.expected(pool.queue.first().command)
        assert not least.may_take(expected_s), "work waits while a worker has room"


def _check_place(request: Request) -> None:
    session = request.session
    if request.worker is None and session is not None:
        places = [session.current is request, session.lines is not None and request in session.lines]
        assert places.count(True) == 1
        assert not places[0] or (session.worker is not None and request in (session.worker.queue or ()))
    elif request.worker is None:
        assert request in request.pool.queue
        assert request.batch is None
    else:
        assert request.worker.held[request.key] is request
        assert request not in request.pool.queue


def _check_session(state: State, pool: Pool, session: Session) -> None:
    assert state.sessions[session.id] is session
    assert session.pool is pool
    assert (session.id in pool.homeless) == (session.worker is None and not session.supposed and session.ended is None)
    owner = session.worker
    if owner is not None:
        assert owner.sessions[session.id] is session
        assert owner is state.workers[owner.id]
        assert session.current is not None or not session.lines, "a session's turn was forgotten"
    current = session.current
    if current is not None:
        there = [current in (owner.queue or ()) if owner else False]
        there += [current.worker is not None and (current.worker is owner or session.ended is not None)]
        there += [any(worker.abandoned.get(current.key) is current for worker in pool.workers.values())]
        assert there.count(True) == 1
    for peer in session.listeners:
        party = state.parties[peer]
        assert isinstance(party, Client)
        assert party.sessions[session.id] is session
    assert session.ended is None or not session.lines


def _check_retirement(state: State, worker: Worker) -> None:
    it = worker.retirement
    assert (worker in state.retiring) == (it is not None and not it.dismissed)
    if it is not None:
        assert worker.draining
        assert it.dismissed or worker.load or worker.sessions or worker.queue, "it holds nothing, and is not let go"


def _check_worker(worker: Worker) -> None:
    assert worker.load <= worker.slots + worker.prefetch
    assert abs(worker.expected_s - sum(r.expected_s for r in worker.held.values())) < 1e-6
    there = [*worker.held.values(), *worker.abandoned.values()]
    batches: dict[Batch, int] = {}
    for request in there:
        if request is not None and request.batch is not None:
            batches[request.batch] = batches.get(request.batch, 0) + 1
    assert all(batch.left == count for batch, count in batches.items())
    assert worker.surplus == sum(count - 1 for count in batches.values())
    assert all(key in worker.abandoned for key in worker.stuck)
    assert not any(request and request.body for request in worker.abandoned.values())
