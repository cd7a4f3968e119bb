"""Sessions that a broker learns back from the workers that hold them, after it was restarted.

Whose they are, they say too: who asked for one meanwhile, and may not have it, is answered as if there were none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from maitred.broker.core.effects import Peer
from maitred.broker.core.endings import Endings
from maitred.broker.core.meters import add
from maitred.broker.core.model import Client, Worker
from maitred.broker.core.owners import Owners
from maitred.broker.core.session import Session
from maitred.broker.core.session_words import not_found, row
from maitred.broker.core.sessions import Sessions
from maitred.broker.core.state import State
from maitred.protocol import messages
from maitred.protocol.body import encode_body


class Resuming:
    """The verbs of SESSION_HELD."""

    def __init__(self, state: State, endings: Endings, owners: Owners, sessions: Sessions) -> None:
        self._state = state
        self._endings = endings
        self._owners = owners
        self._sessions = sessions

    def held(self, worker: Worker, message: messages.SessionHeld, body: Sequence[Any], now: float) -> None:
        """A worker says that it has a session. The higher epoch is the truth; what is known already is no news."""
        session = self._state.sessions.get(message.session)
        why = self._why_not(worker, message, session)
        if why:
            self._state.note("protocol.refused", reason=f"SESSION_HELD: {why}")
            self._state.send(worker.peer, messages.SessionClose(message.session, "closed"))
        elif session is None or session.supposed:
            self._resume(worker, message, body, session, now)
        elif session.worker is not worker:
            self._owners.settle(session, worker, message)

    def _why_not(self, worker: Worker, message: messages.SessionHeld, session: Session | None) -> str:
        if message.principal and message.principal not in self._state.principals:
            return "its principal is gone"
        if session is None:
            return ""
        if session.pool is not None and session.pool is not worker.pool:
            return "it is of another pool"
        if session.supposed:
            return ""
        if session.principal != message.principal:
            return "it is another principal's"
        owner = session.worker
        if owner is not None and not owner.principal.is_same(worker.principal):
            return "another principal's worker has it"
        return ""

    def _resume(
        self, worker: Worker, message: messages.SessionHeld, body: Sequence[Any], known: Session | None, now: float
    ) -> None:
        session = self._sessions.learn(worker.pool, message, known, now)
        session.metadata = body[0]
        session.affinity = message.affinity
        session.epoch = message.epoch
        session.served = message.served
        session.worker = worker
        worker.sessions[session.id] = session
        worker.pool.homeless.pop(session.id, None)
        session.expires_at = now + message.left
        self._state.note("session.resumed", pool=worker.pool.name, session=session.name, worker=worker.id.hex())
        add(worker.pool.meters.sessions, "resumed")
        self._send_strangers_away(session)
        for peer, request_id in session.askers:
            self._state.send(peer, messages.Reply(request_id), encode_body(row(session, now)))
        session.askers.clear()
        left = session.expires_at
        self._state.freed.append(session)
        self._owners.advance(now)
        if not session.busy:
            session.expires_at = left

    def _send_strangers_away(self, session: Session) -> None:
        """Nobody could tell whose it is when they asked."""
        if not session.principal:
            return
        refusal = not_found(session.id)
        for peer, request_id in list(session.askers):
            if not self._may_use(peer, session):
                session.askers.remove((peer, request_id))
                self._state.refuse(peer, request_id, *refusal)
        for request in list(session.lines or ()):
            if not self._may_use(request.peer, session):
                self._endings.fail_waiting(request, *refusal)
        for peer in [one for one in session.listeners if not self._may_use(one, session)]:
            del session.listeners[peer]
            party = self._state.parties.get(peer)
            if isinstance(party, Client):
                party.sessions.pop(session.id, None)

    def _may_use(self, peer: Peer, session: Session) -> bool:
        party = self._state.parties.get(peer)
        return isinstance(party, Client) and session.is_open_to(party.principal)
