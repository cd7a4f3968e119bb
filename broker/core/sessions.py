"""Sessions: a lease on a worker, with a contract for its loss.

    open → (homeless → owned: see `owners`) → bind, bind … → expire | close

A broker that is new supposes a session that it is asked for, until its worker speaks of it (see `resuming`) or some seconds
have passed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from maitred.broker.core.account import Account
from maitred.broker.core.endings import Endings
from maitred.broker.core.meters import add
from maitred.broker.core.model import Client
from maitred.broker.core.owners import Owners
from maitred.broker.core.pool import Pool
from maitred.broker.core.refusals import refuse_unknown_pool
from maitred.broker.core.rights import denied_call
from maitred.broker.core.session import Session
from maitred.broker.core.session_words import not_found, row
from maitred.broker.core.state import State
from maitred.protocol import messages
from maitred.protocol.body import encode_body
from maitred.protocol.errors import Code

MAX_METADATA_BYTES = 16 * 1024
"""The caller's own fields of one session: the broker keeps them for as long as it lives."""

SETTLING_S = 6.0
"""A broker that is new supposes sessions that it has not heard of for so long: a worker's pause before it connects again is
at most four seconds, and an idle one says something each second."""

RESOLUTION_S = 0.01
"""A session whose requests never pause is looked at no sooner than this again."""

MAX_ASKERS = 1024
"""Questions that wait for one session to have an owner: each is kept until then, for as long as the session lives."""

WARN_FROM = 0.8
"""Share of `max_sessions` from which on an event says so."""


class Sessions:
    """The verbs of a session."""

    def __init__(self, state: State, endings: Endings, owners: Owners) -> None:
        self._state = state
        self._endings = endings
        self._owners = owners

    # --- opening ---

    def open(self, client: Client, message: messages.Open, body: Sequence[Any], now: float) -> None:
        """Open a session; it is answered once a worker owns it."""
        pool = self._state.pools.get(message.pool)
        if pool is None:
            refuse_unknown_pool(self._state, client, message.id, message.pool, f"no pool {message.pool!r}")
            return
        if not client.principal.may_call_pool(pool.name):
            text, details = denied_call(client.principal, pool.name, None)
            self._state.refuse(client.peer, message.id, Code.PERMISSION_DENIED, text, details, pool.level)
            return
        if not self._may_open(client, message, body, pool):
            return
        ttl_s = pool.settings.session_ttl_s if message.ttl is None else message.ttl
        session = Session(message.session, client.id, pool, ttl_s, now)
        session.principal = client.principal.account
        session.affinity = pool.settings.affinity if message.affinity is None else message.affinity
        session.metadata = body[0]
        session.askers.append((client.peer, message.id))
        self._enter(session, now + ttl_s)
        self._listen(client, session)
        self._owners.house(pool, now)
        if session.worker is None and pool.dynamic and not pool.workers:
            self._state.rounds_at = -math.inf  # somebody has to be started for it
        if session.worker is None and pool.settings.timeout_s < ttl_s:
            self._state.lives.discard(session.look_at, session)
            session.look_at = _open_by(session)
            self._state.lives.add(session.look_at, session)

    def _may_open(self, client: Client, message: messages.Open, body: Sequence[Any], pool: Pool) -> bool:
        if pool.closed:
            self._refuse(client, message.id, pool, Code.UNAVAILABLE, pool.closed, "draining")
        elif message.session in self._state.sessions:
            text, details = "there is a session of this id", {"argument": "session", "reason": "taken"}
            self._state.refuse(client.peer, message.id, Code.INVALID_ARGUMENT, text, details)
        elif len(body) > 1 or len(body[0]) > MAX_METADATA_BYTES:
            text = f"the metadata is one frame of at most {MAX_METADATA_BYTES} bytes"
            details = {"size": sum(len(frame) for frame in body), "limit": MAX_METADATA_BYTES, "what": "metadata"}
            self._state.refuse(client.peer, message.id, Code.PAYLOAD_TOO_LARGE, text, details)
        elif self._state.squeezed:
            text = "the broker's process is short of memory"
            self._refuse(client, message.id, pool, Code.RESOURCE_EXHAUSTED, text, "broker_memory")
        elif len(pool.sessions) >= pool.settings.max_sessions:
            text = f"{len(pool.sessions)} sessions are open, room for {pool.settings.max_sessions}"
            self._refuse(client, message.id, pool, Code.RESOURCE_EXHAUSTED, text, "max_sessions")
        elif self._has_enough(client):
            text = f"this client has {client.identity.account.max_sessions} sessions open, which is its limit"
            self._refuse(client, message.id, pool, Code.RESOURCE_EXHAUSTED, text, "client_sessions")
        elif pool.degraded and not pool.workers:
            self._refuse(client, message.id, pool, Code.UNAVAILABLE, f"no worker: {pool.degraded}", "degraded")
        else:
            return True
        return False

    def _has_enough(self, client: Client) -> bool:
        account = client.identity.account
        return account.max_sessions is not None and account.sessions >= account.max_sessions

    def _refuse(self, client: Client, request_id: int, pool: Pool, code: Code, text: str, reason: str) -> None:
        details = {"pool": pool.name, "reason": reason, "capacity": pool.settings.max_sessions}
        self._state.refuse(client.peer, request_id, code, f"pool {pool.name!r}: {text}", details, pool.level)

    def _enter(self, session: Session, look_at: float) -> None:
        self._state.sessions[session.id] = session
        self._state.lives.add(look_at, session)
        session.look_at = look_at
        self._count(session)
        if session.pool is not None:
            self._join(session, session.pool)

    def _count(self, session: Session) -> None:
        account = self._account(session)
        if account is not None:
            account.sessions += 1

    def _account(self, session: Session) -> Account | None:
        """In which it counts: its opener's, if that process is here, or its principal's."""
        if session.principal:
            return self._state.account_of(session.principal)
        identity = self._state.identities.get(session.client)
        return None if identity is None or identity.principal.keyed else identity.account

    def _join(self, session: Session, pool: Pool) -> None:
        session.pool = pool
        pool.sessions[session.id] = session
        if session.worker is None and not session.supposed:
            pool.homeless[session.id] = session
        if len(pool.sessions) == int(pool.settings.max_sessions * WARN_FROM):
            self._state.note("pool.sessions", pool=pool.name, open=len(pool.sessions), limit=pool.settings.max_sessions)

    # --- what clients ask of one ---

    def do(self, client: Client, message: messages.Session, now: float) -> None:
        """Attach to a session, renew or close it."""
        if message.verb not in ("attach", "renew", "close"):
            text = f"no verb {message.verb!r}; there are: attach, renew, close"
            self._state.refuse(client.peer, message.id, Code.INVALID_ARGUMENT, text, {"argument": "verb"})
            return
        session = self.find(message.session, None, now)
        if session is None or not session.is_open_to(client.principal):
            self._state.refuse(client.peer, message.id, *not_found(message.session))
        elif session.ended is not None:
            self._state.refuse(client.peer, message.id, Code.SESSION_LOST, *session.ended)
        elif message.verb == "close":
            client.sessions.pop(session.id, None)
            session.listeners.pop(client.peer, None)
            self._state.send(client.peer, messages.Reply(message.id), encode_body(row(session, now)))
            self.end(session, "closed", now)
        else:
            session.expires_at = now + session.ttl_s
            if message.verb == "attach":
                self._listen(client, session)
            if session.worker is None:
                self._wait_for_owner(client, message, session)
            else:
                self._state.send(client.peer, messages.Reply(message.id), encode_body(row(session, now)))

    def _wait_for_owner(self, client: Client, message: messages.Session, session: Session) -> None:
        if len(session.askers) < MAX_ASKERS:
            session.askers.append((client.peer, message.id))
            return
        text = f"{MAX_ASKERS} questions wait for session {session.name} to have an owner"
        details = {"session": session.name, "reason": "session_askers", "capacity": MAX_ASKERS}
        self._state.refuse(client.peer, message.id, Code.RESOURCE_EXHAUSTED, text, details)

    def _listen(self, client: Client, session: Session) -> None:
        session.listeners[client.peer] = None
        client.sessions[session.id] = session

    def find(self, session_id: bytes, pool: Pool | None, now: float) -> Session | None:
        """The session of this id, if its time is not over. A broker that is new supposes one that it has not heard of."""
        session = self._state.sessions.get(session_id)
        if session is not None:
            if now < session.expires_at or session.busy or session.askers:
                return session
            self.end(session, "expired", now)
            return None
        settled_at = self._state.started_at + max(SETTLING_S, self._state.settings.worker_silence_s)
        if now >= settled_at or len(self._state.sessions) >= self._most():
            return None
        session = Session(session_id, b"", pool, settled_at - now, now)
        session.supposed = True
        self._enter(session, settled_at)
        return session

    def _most(self) -> int:
        """As many as may be open: whoever asks for ids that nobody has must not have more supposed."""
        return sum(pool.settings.max_sessions for pool in self._state.pools.values())

    # --- requests ---

    def bind(self, client: Client, message: messages.Request, pool: Pool, now: float) -> Session | None:
        """The session that a request is of; None where it was refused."""
        assert message.session is not None
        session = self.find(message.session, pool, now)
        if session is None or not session.is_open_to(client.principal):
            self._state.turn_away(client.peer, message.id, pool, *not_found(message.session))
        elif session.ended is not None:
            self._state.turn_away(client.peer, message.id, pool, Code.SESSION_LOST, *session.ended)
        elif session.pool is None:
            self._join(session, pool)
            return session
        elif session.pool is not pool:
            text = f"the session belongs to pool {session.pool.name!r}"
            details = {"session": session.name, "pool": session.pool.name}
            self._state.turn_away(client.peer, message.id, pool, Code.SESSION_POOL_MISMATCH, text, details)
        elif self._affinity(message, session) == messages.FAIL_FAST and _is_busy(session):
            text = f"the owner of session {session.name} is busy"
            details = {"pool": pool.name, "session": session.name, "reason": "session_busy"}
            self._state.turn_away(client.peer, message.id, pool, Code.RESOURCE_EXHAUSTED, text, details)
        else:
            return session
        return None

    def goes_elsewhere(self, message: messages.Request, session: Session) -> bool:
        """Whether a request that would rather not wait can be served by another worker."""
        if self._affinity(message, session) != messages.PREFER or not _is_busy(session):
            return False
        assert session.pool is not None
        worker = session.pool.ready.least()
        return worker is not None and worker.load < worker.slots

    @staticmethod
    def _affinity(message: messages.Request, session: Session) -> int:
        return session.affinity if message.affinity is None else message.affinity

    def learn(self, pool: Pool, message: messages.SessionHeld, known: Session | None, now: float) -> Session:
        """Enter a session that a worker of this pool has, or know more of one that was supposed."""
        session = known
        if session is None:
            session = Session(message.session, message.client, pool, message.ttl, now)
            session.principal = message.principal
            self._enter(session, now + message.left)
            return session
        if session.pool is None:
            self._join(session, pool)
        session.supposed = False
        session.client, session.principal, session.ttl_s = message.client, message.principal, message.ttl
        self._count(session)
        return session

    # --- the end of a session ---

    def expire(self, session: Session, now: float) -> None:
        """The time has come at which it may have run out."""
        if self._state.sessions.get(session.id) is not session:
            return
        if session.supposed:
            self._forget_supposed(session, now)
        elif _is_opening(session) and now >= _open_by(session):
            self._give_up_opening(session)
        elif now < session.expires_at or session.busy or session.askers:
            at = _open_by(session) if _is_opening(session) else session.expires_at
            session.look_at = max(at, now + RESOLUTION_S)
            self._state.lives.add(session.look_at, session)
        else:
            self.end(session, "expired", now, looked=True)

    def _forget_supposed(self, session: Session, now: float) -> None:
        code, text, details = not_found(session.id)
        for request in list(session.lines or ()):
            self._endings.fail_waiting(request, code, text, details)
        for peer, request_id in session.askers:
            self._state.refuse(peer, request_id, code, text, details)
        self._remove(session)

    def _give_up_opening(self, session: Session) -> None:
        pool = session.pool
        assert pool is not None
        text = f"pool {pool.name!r} had no worker for the session within {pool.settings.timeout_s:g} s"
        for peer, request_id in session.askers:
            self._state.refuse(peer, request_id, Code.UNAVAILABLE, text, {"pool": pool.name, "reason": "no_worker"})
        for request in list(session.lines or ()):
            self._endings.fail_waiting(request, Code.UNAVAILABLE, text, {"pool": pool.name, "reason": "no_worker"})
        self._remove(session)

    def end(self, session: Session, reason: str, now: float, *, looked: bool = False) -> None:
        """Forget a session, and have its owner free what it holds; what runs for it is told to stop."""
        for request in list(session.lines or ()):
            self._endings.cancel(request, "cancelled", now)
        current = session.current
        if current is not None and current.key in self._state.requests:
            self._endings.cancel(current, "cancelled", now)
        for peer, request_id in session.askers:
            self._state.refuse(peer, request_id, *not_found(session.id))
        session.askers.clear()
        if session.ended is None:
            self._owners.tell_listeners(session, reason, {"session": session.name, "reason": reason})
            self._state.note("session." + reason, session=session.name, served=session.served)
            if session.pool is not None:
                add(session.pool.meters.sessions, reason)
        if not looked:
            self._state.lives.discard(session.look_at, session)
        self._remove(session)
        if session.busy:
            session.closing = reason  # its owner is told when what runs has ended
        else:
            self._owners.tell_owner(session, reason)

    def _remove(self, session: Session) -> None:
        del self._state.sessions[session.id]
        if session.pool is not None:
            del session.pool.sessions[session.id]
            session.pool.homeless.pop(session.id, None)
        account = self._account(session)
        if account is not None and account.sessions:
            account.sessions -= 1
        for peer in session.listeners:
            party = self._state.parties.get(peer)
            if isinstance(party, Client):
                party.sessions.pop(session.id, None)

    def silence(self, client: Client) -> None:
        """A connection is gone: it is told of nothing any more. Its sessions live on."""
        for session in client.sessions.values():
            session.listeners.pop(client.peer, None)
            session.askers = [asker for asker in session.askers if asker[0] != client.peer]
        client.sessions.clear()


def _is_opening(session: Session) -> bool:
    return session.worker is None and session.epoch == 0 and session.ended is None


def _open_by(session: Session) -> float:
    assert session.pool is not None
    return session.opened_at + session.pool.settings.timeout_s


def _is_busy(session: Session) -> bool:
    owner = session.worker
    return session.busy or owner is None or owner.load >= owner.slots
