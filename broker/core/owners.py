"""The owners of sessions: who is given which, whose turn it is there, and what becomes of them when their owner is gone.

    house → owned → advance, advance …
      ▲        └ owner gone: bereave (there is a snapshot: it moves) | lose
      └────────────────────────────┘

The owner is found before anything of a session runs, and named by (worker, epoch). A session's requests run one at a time;
the books call it *freed* when the current one is done with, and `advance` gives the next one its turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from maitred.broker.core.books import call_up, close, send_back
from maitred.broker.core.dispatch import Dispatcher
from maitred.broker.core.endings import Endings
from maitred.broker.core.meters import add
from maitred.broker.core.model import Client, Request, Worker
from maitred.broker.core.pool import Pool
from maitred.broker.core.session import Session
from maitred.broker.core.session_words import row
from maitred.broker.core.state import State
from maitred.broker.core.words import describe
from maitred.protocol import messages
from maitred.protocol.body import encode_body
from maitred.protocol.errors import Code


class Owners:
    """The verbs of an owner."""

    def __init__(self, state: State, dispatcher: Dispatcher, endings: Endings) -> None:
        self._state = state
        self._dispatcher = dispatcher
        self._endings = endings

    def advance(self, now: float) -> None:
        """Give each session that was freed its next turn, or its end."""
        state = self._state
        pools: dict[str, Pool] = {}
        while state.freed:
            session = state.freed.pop()
            session.expires_at = now + session.ttl_s
            if session.closing and not session.busy:
                self.tell_owner(session, session.closing)
                session.closing = ""
            elif session.current is None and session.lines and session.worker is not None and session.ended is None:
                call_up(session, session.worker)
                assert session.pool is not None
                pools[session.pool.name] = session.pool
        for pool in pools.values():
            self._dispatcher.dispatch(pool, now)

    def house(self, pool: Pool, now: float) -> None:
        """Find owners for the sessions that have none: the worker that owns fewest, then is least loaded."""
        while pool.homeless and not pool.paused:
            foreign = self._state.majordomo
            candidates = [
                w for w in pool.workers.values() if not (w.draining or w.suspect or w.stuck or w.peer in foreign)
            ]
            if not candidates:
                return
            owner = min(candidates, key=lambda worker: (len(worker.sessions), worker.load))
            self._give(pool.homeless.pop(next(iter(pool.homeless))), owner, now)
        self.advance(now)

    def _give(self, session: Session, owner: Worker, now: float) -> None:
        state = self._state
        session.worker = owner
        session.epoch += 1
        session.served_before = session.served
        owner.sessions[session.id] = session
        restore = session.snapshot is not None
        order = messages.SessionOpen(
            session.id, session.client, session.epoch, session.ttl_s, session.affinity, restore, session.principal
        )
        state.send(owner.peer, order, [session.metadata, *(session.snapshot or ())])
        event = "session.moved" if session.epoch > 1 else "session.opened"
        state.note(event, pool=owner.pool.name, session=session.name, worker=owner.id.hex(), epoch=session.epoch)
        add(owner.pool.meters.sessions, "moved" if session.epoch > 1 else "opened")
        if session.epoch > 1:
            for peer in session.listeners:
                state.send(peer, messages.SessionMoved(session.id, session.epoch, session.served, session.kept))
        self.housed(session, now)

    def housed(self, session: Session, now: float) -> None:
        """It has an owner: those who waited for that are answered, and its first request has its turn."""
        session.expires_at = max(session.expires_at, now + session.ttl_s)
        for peer, request_id in session.askers:
            self._state.send(peer, messages.Reply(request_id), encode_body(row(session, now)))
        session.askers.clear()
        self._state.freed.append(session)

    def settle(self, session: Session, worker: Worker, message: messages.SessionHeld) -> None:
        """Another worker has it too: the owner of the later epoch is the true one."""
        other = session.worker
        if other is None or message.epoch <= session.epoch or session.busy:
            reason = "lost" if session.ended is None else "closed"
            self._state.send(worker.peer, messages.SessionClose(message.session, reason))
            return
        del other.sessions[session.id]
        self._state.send(other.peer, messages.SessionClose(session.id, "lost"))
        session.worker, session.epoch = worker, message.epoch
        worker.sessions[session.id] = session

    def keep(self, worker: Worker, message: messages.Snapshot, body: Sequence[Any]) -> None:
        """The state of a session as its owner sees it, for the next one."""
        session = self._state.sessions.get(message.session)
        if session is None or session.worker is not worker or session.epoch != message.epoch:
            return
        size = sum(len(frame) for frame in body)
        limit = worker.pool.settings.max_snapshot_bytes
        if size > limit:
            self._state.note("session.snapshot_too_large", session=session.name, size=size, limit=limit)
            session.snapshot, session.snapshot_size = None, 0
        else:
            session.snapshot, session.snapshot_size = body, size
            session.kept = session.served_before + message.served

    # --- the end of an owner ---

    def bereave(self, worker: Worker, reason: str, certificate: messages.Certificate, now: float) -> None:
        """An owner is gone: its sessions move where there is a snapshot, and are lost where there is none.

        Call it when the worker is no candidate any more, and before its requests are dealt with.
        """
        for session in list(worker.sessions.values()):
            current = session.current
            if current is not None and current.key in worker.abandoned:
                session.current = None
            elif current is not None and current.worker is None:
                send_back(session)
            if self._state.sessions.get(session.id) is not session:  # it was ended while something ran for it
                continue
            if session.snapshot is not None:
                session.worker = None
                worker.pool.homeless[session.id] = session
            else:
                plain = msgspec.to_builtins(certificate)
                text = f"the worker that held session {session.name} is gone: {describe(certificate)}"
                self.lose(session, reason, text, {"certificate": plain}, now)
        worker.sessions.clear()

    def orphan(self, request: Request, begun: bool, certificate: messages.Certificate) -> None:
        """A request was with an owner that is gone."""
        session = request.session
        assert session is not None
        if session.ended is not None and not request.cancelled:
            close(self._state, request)
            self._state.fail(request, Code.SESSION_LOST, *session.ended)
        elif begun and not self._endings.may_run_again(request):
            self._endings.lose(request, certificate)
        elif request.cancelled:
            self._endings.end_cancelled(request, "removed")
        elif not self._endings.is_permitted(request):
            self._endings.deny(request)
        else:
            if begun:
                request.attempt += 1
                request.identity.account.retries -= 1
            self._dispatcher.take_back(request, "worker_lost" if begun else "not_begun")

    def fail(self, worker: Worker, message: messages.SessionFailed, now: float) -> None:
        """A worker could not open or restore a session."""
        session = self._state.sessions.get(message.session)
        if session is not None and session.worker is worker and session.epoch == message.epoch:
            text = f"session {session.name} could not be opened: {message.message}"
            worker.sessions.pop(session.id)
            self.lose(session, "failed", text, {}, now)

    def lose(self, session: Session, reason: str, text: str, details: dict[str, Any], now: float) -> None:
        """A session's state is gone: all that waits for it fails, and so does what comes until its time is over."""
        session.ended = (text, {"session": session.name, "reason": reason} | details)
        session.expires_at = now + session.ttl_s
        current = session.current
        for request in list(session.lines or ()):
            self._drop(request)
        if current is not None and current.worker is None and current.key in self._state.requests:
            self._drop(current)
        session.worker = None
        for peer, request_id in session.askers:
            self._state.refuse(peer, request_id, Code.SESSION_LOST, *session.ended)
        session.askers.clear()
        self.tell_listeners(session, reason, session.ended[1])
        pool = session.pool
        self._state.note("session.lost", pool=pool.name if pool else None, session=session.name, reason=reason)
        if pool is not None:
            add(pool.meters.sessions, "lost")

    def _drop(self, request: Request) -> None:
        session = request.session
        assert session is not None
        assert session.ended is not None
        self._endings.fail_waiting(request, Code.SESSION_LOST, *session.ended)

    def tell_owner(self, session: Session, reason: str) -> None:
        """Have the worker that owns it free what it holds."""
        owner = session.worker
        if owner is not None and owner.sessions.pop(session.id, None) is not None:
            self._state.send(owner.peer, messages.SessionClose(session.id, reason))

    def tell_listeners(self, session: Session, reason: str, details: dict[str, Any]) -> None:
        """Tell those who opened or attached to it that it has ended; they are told of nothing more."""
        for peer in session.listeners:
            self._state.send(peer, messages.SessionEnded(session.id, reason), encode_body(details))
            party = self._state.parties.get(peer)
            if isinstance(party, Client):
                party.sessions.pop(session.id, None)
        session.listeners.clear()
