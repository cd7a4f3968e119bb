"""Sessions: a lease on a worker, with a contract for its loss.

    open → (homeless) → house → owned → advance, advance … → expire | close
                          ▲        └ owner gone: move (there is a snapshot) | lose
                          └────────────────────────────────────┘

The owner is found before anything of the session runs, and named by (worker, epoch). Its requests run one at a time; the
books call a session *freed* when the current one is done with, and `advance` gives the next one its turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from maitred.broker.core.books import call_up, close, send_back
from maitred.broker.core.dispatch import Dispatcher
from maitred.broker.core.endings import Endings
from maitred.broker.core.model import Client, Request, Worker
from maitred.broker.core.pool import Pool
from maitred.broker.core.refusals import refuse_unknown_pool
from maitred.broker.core.session import Session
from maitred.broker.core.state import State
from maitred.broker.core.words import describe
from maitred.protocol import messages
from maitred.protocol.body import decode_body, encode_body
from maitred.protocol.errors import Code, DecodeError

MAX_METADATA_BYTES = 16 * 1024
"""The caller's own fields of one session: the broker keeps them for as long as it lives."""

SETTLING_S = 6.0
"""A broker that is new supposes sessions that it has not heard of for so long: a worker's pause before it connects again is
at most four seconds, and an idle one says something each second."""

WARN_FROM = 0.8
"""Share of `max_sessions` from which on an event says so."""


class Sessions:
    """The verbs of a session."""

    def __init__(self, state: State, dispatcher: Dispatcher, endings: Endings) -> None:
        self._state = state
        self._dispatcher = dispatcher
        self._endings = endings

    # --- opening ---

    def open(self, client: Client, message: messages.Open, body: Sequence[Any], now: float) -> None:
        """Open a session; it is answered once a worker owns it."""
        pool = self._state.pools.get(message.pool)
        if pool is None:
            refuse_unknown_pool(self._state, client, message.id, message.pool, f"no pool {message.pool!r}")
            return
        if not self._may_open(client, message, body, pool):
            return
        ttl_s = pool.settings.session_ttl_s if message.ttl is None else message.ttl
        session = Session(message.session, client.id, pool, ttl_s, now)
        session.affinity = message.affinity
        session.metadata = body[0]
        session.askers.append((client.peer, message.id))
        self._enter(session, now + ttl_s)
        self._listen(client, session)
        self.house(pool, now)
        if session.worker is None and pool.settings.timeout_s < ttl_s:
            self._state.lives.discard(session.look_at, session)
            session.look_at = _open_by(session)
            self._state.lives.add(session.look_at, session)

    def _may_open(self, client: Client, message: messages.Open, body: Sequence[Any], pool: Pool) -> bool:
        if self._state.draining:
            self._refuse(client, message.id, pool, Code.UNAVAILABLE, "the broker is shutting down", "draining")
        elif message.session in self._state.sessions:
            text, details = "there is a session of this id", {"argument": "session", "reason": "taken"}
            self._state.refuse(client.peer, message.id, Code.INVALID_ARGUMENT, text, details)
        elif len(body) > 1 or len(body[0]) > MAX_METADATA_BYTES:
            text = f"the metadata is one frame of at most {MAX_METADATA_BYTES} bytes"
            details = {"size": sum(len(frame) for frame in body), "limit": MAX_METADATA_BYTES, "what": "metadata"}
            self._state.refuse(client.peer, message.id, Code.PAYLOAD_TOO_LARGE, text, details)
        elif len(pool.sessions) >= pool.settings.max_sessions:
            text = f"{len(pool.sessions)} sessions are open, room for {pool.settings.max_sessions}"
            self._refuse(client, message.id, pool, Code.RESOURCE_EXHAUSTED, text, "max_sessions")
        elif self._has_enough(client):
            text = f"this client has {client.identity.max_sessions} sessions open, which is its limit"
            self._refuse(client, message.id, pool, Code.RESOURCE_EXHAUSTED, text, "client_sessions")
        elif not pool.workers and not pool.starting and pool.degraded:
            self._refuse(client, message.id, pool, Code.UNAVAILABLE, f"no worker: {pool.degraded}", "degraded")
        else:
            return True
        return False

    def _has_enough(self, client: Client) -> bool:
        limit = client.identity.max_sessions
        return limit is not None and client.identity.sessions >= limit

    def _refuse(self, client: Client, request_id: int, pool: Pool, code: Code, text: str, reason: str) -> None:
        details = {"pool": pool.name, "reason": reason, "capacity": pool.settings.max_sessions}
        self._state.refuse(client.peer, request_id, code, f"pool {pool.name!r}: {text}", details, pool.level)

    def _enter(self, session: Session, look_at: float) -> None:
        self._state.sessions[session.id] = session
        self._state.lives.add(look_at, session)
        session.look_at = look_at
        identity = self._state.identities.get(session.client)
        if identity is not None:
            identity.sessions += 1
        if session.pool is not None:
            self._join(session, session.pool)

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
        if session is None:
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
                session.askers.append((client.peer, message.id))
            else:
                self._state.send(client.peer, messages.Reply(message.id), encode_body(row(session, now)))

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
        if now >= settled_at:
            return None
        session = Session(session_id, b"", pool, settled_at - now, now)
        session.supposed = True
        self._enter(session, settled_at)
        return session

    # --- requests ---

    def bind(self, client: Client, message: messages.Request, pool: Pool, now: float) -> Session | None:
        """The session that a request is of; None where it was refused."""
        assert message.session is not None
        session = self.find(message.session, pool, now)
        if session is None:
            self._state.refuse(client.peer, message.id, *not_found(message.session), pool.level)
        elif session.ended is not None:
            self._state.refuse(client.peer, message.id, Code.SESSION_LOST, *session.ended, pool.level)
        elif session.pool is None:
            self._join(session, pool)
            return session
        elif session.pool is not pool:
            text = f"the session belongs to pool {session.pool.name!r}"
            details = {"session": session.name, "pool": session.pool.name}
            self._state.refuse(client.peer, message.id, Code.SESSION_POOL_MISMATCH, text, details, pool.level)
        elif self._affinity(message, session) == messages.FAIL_FAST and _is_busy(session):
            text = f"the owner of session {session.name} is busy"
            details = {"pool": pool.name, "session": session.name, "reason": "session_busy"}
            self._state.refuse(client.peer, message.id, Code.RESOURCE_EXHAUSTED, text, details, pool.level)
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

    def advance(self, now: float) -> None:
        """Give each session that was freed its next turn, or its end."""
        state = self._state
        pools: dict[str, Pool] = {}
        while state.freed:
            session = state.freed.pop()
            session.expires_at = now + session.ttl_s
            if session.closing and not session.busy:
                self._tell_owner(session, session.closing)
                session.closing = ""
            elif session.current is None and session.lines and session.worker is not None and session.ended is None:
                call_up(session, session.worker)
                assert session.pool is not None
                pools[session.pool.name] = session.pool
        for pool in pools.values():
            self._dispatcher.dispatch(pool, now)

    # --- owners ---

    def house(self, pool: Pool, now: float) -> None:
        """Find owners for the sessions that have none: the worker that owns fewest, then is least loaded."""
        while pool.homeless:
            candidates = [w for w in pool.workers.values() if not (w.draining or w.suspect or w.stuck)]
            if not candidates:
                return
            owner = min(candidates, key=lambda worker: (len(worker.sessions), worker.load))
            self._give(pool.homeless.pop(next(iter(pool.homeless))), owner, now)
        self.advance(now)

    def _give(self, session: Session, owner: Worker, now: float) -> None:
        state = self._state
        session.worker = owner
        session.epoch += 1
        owner.sessions[session.id] = session
        restore = session.snapshot is not None
        order = messages.SessionOpen(
            session.id, session.client, session.epoch, session.ttl_s, session.affinity, restore
        )
        state.send(owner.peer, order, [session.metadata, *(session.snapshot or ())])
        event = "session.moved" if session.epoch > 1 else "session.opened"
        state.note(event, pool=owner.pool.name, session=session.name, worker=owner.id.hex(), epoch=session.epoch)
        if session.epoch > 1:
            for peer in session.listeners:
                state.send(peer, messages.SessionMoved(session.id, session.epoch))
        self._housed(session, now)

    def _housed(self, session: Session, now: float) -> None:
        session.expires_at = max(session.expires_at, now + session.ttl_s)
        for peer, request_id in session.askers:
            self._state.send(peer, messages.Reply(request_id), encode_body(row(session, now)))
        session.askers.clear()
        self._state.freed.append(session)

    def held(self, worker: Worker, message: messages.SessionHeld, body: Sequence[Any], now: float) -> None:
        """A worker says that it has a session. The higher epoch is the truth; what is known already is no news."""
        session = self._state.sessions.get(message.session)
        if session is not None and not session.supposed:
            if session.worker is not worker:
                self._settle(session, worker, message)
            return
        if session is None:
            session = Session(message.session, message.client, worker.pool, message.ttl, now)
            self._enter(session, now + message.left)
        elif session.pool is None:
            self._join(session, worker.pool)
        session.supposed = False
        session.client = message.client
        session.metadata = body[0]
        session.ttl_s = message.ttl
        session.affinity = message.affinity
        session.epoch = message.epoch
        session.served = message.served
        session.worker = worker
        worker.sessions[session.id] = session
        worker.pool.homeless.pop(session.id, None)
        session.expires_at = now + message.left
        self._state.note("session.resumed", pool=worker.pool.name, session=session.name, worker=worker.id.hex())
        for peer, request_id in session.askers:
            self._state.send(peer, messages.Reply(request_id), encode_body(row(session, now)))
        session.askers.clear()
        left = session.expires_at
        self._state.freed.append(session)
        self.advance(now)
        if not session.busy:
            session.expires_at = left

    def _settle(self, session: Session, worker: Worker, message: messages.SessionHeld) -> None:
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
        else:
            if begun:
                request.attempt += 1
                request.identity.retries -= 1
            self._dispatcher.take_back(request)

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
        self._tell_listeners(session, reason, session.ended[1])
        pool = session.pool
        self._state.note("session.lost", pool=pool.name if pool else None, session=session.name, reason=reason)

    def _drop(self, request: Request) -> None:
        session = request.session
        assert session is not None
        assert session.ended is not None
        self._endings.fail_waiting(request, Code.SESSION_LOST, *session.ended)

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
            self._tell_listeners(session, reason, {"session": session.name, "reason": reason})
            self._state.note("session." + reason, session=session.name, served=session.served)
        if not looked:
            self._state.lives.discard(session.look_at, session)
        self._remove(session)
        if session.busy:
            session.closing = reason  # its owner is told when what runs has ended
        else:
            self._tell_owner(session, reason)

    def _tell_owner(self, session: Session, reason: str) -> None:
        owner = session.worker
        if owner is not None and owner.sessions.pop(session.id, None) is not None:
            self._state.send(owner.peer, messages.SessionClose(session.id, reason))

    def _tell_listeners(self, session: Session, reason: str, details: dict[str, Any]) -> None:
        for peer in session.listeners:
            self._state.send(peer, messages.SessionEnded(session.id, reason), encode_body(details))
            party = self._state.parties.get(peer)
            if isinstance(party, Client):
                party.sessions.pop(session.id, None)
        session.listeners.clear()

    def _remove(self, session: Session) -> None:
        del self._state.sessions[session.id]
        if session.pool is not None:
            del session.pool.sessions[session.id]
            session.pool.homeless.pop(session.id, None)
        identity = self._state.identities.get(session.client)
        if identity is not None and identity.sessions:
            identity.sessions -= 1
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


RESOLUTION_S = 0.01
"""A session whose requests never pause is looked at no sooner than this again."""


def not_found(session_id: bytes) -> tuple[Code, str, dict[str, Any]]:
    """The refusal of a session that is not there."""
    name = session_id.hex()
    return Code.SESSION_NOT_FOUND, f"no session {name}: never opened, closed, or run out", {"session": name}


def row(session: Session, now: float) -> dict[str, Any]:
    """A session as tables and answers show it. Times in seconds, sizes in bytes."""
    owner = session.worker
    return {
        "id": session.name,
        "pool": session.pool.name if session.pool else None,
        "owner": owner.id.hex() if owner else None,
        "pid": owner.pid if owner else None,
        "state": "lost" if session.ended else "owned" if owner else "homeless",
        "epoch": session.epoch,
        "ttl": session.ttl_s,
        "left": max(session.expires_at - now, 0.0),
        "queued": session.waiting + (session.current is not None and session.current.worker is None),
        "running": session.current is not None and session.current.worker is not None,
        "requests": session.served,
        "age": now - session.opened_at,
        "metadata": _metadata(session),
        "affinity": WORDS[session.affinity],
        "client": session.client.hex()[:8],
        "snapshot_bytes": session.snapshot_size if session.snapshot is not None else None,
    }


def _metadata(session: Session) -> Any:
    try:
        return decode_body([session.metadata])
    except DecodeError:
        return None


WORDS = {number: word for word, number in messages.AFFINITIES.items()}


def _is_opening(session: Session) -> bool:
    return session.worker is None and session.epoch == 0 and session.ended is None


def _open_by(session: Session) -> float:
    assert session.pool is not None
    return session.opened_at + session.pool.settings.timeout_s


def _is_busy(session: Session) -> bool:
    owner = session.worker
    return session.busy or owner is None or owner.load >= owner.slots
