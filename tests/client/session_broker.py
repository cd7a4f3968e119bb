"""What a scripted broker says of sessions: it knows those that were opened, and answers their calls as they come."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from scripted_broker import ScriptedBroker

from maitred.protocol import frames
from maitred.protocol import messages as m
from maitred.protocol.body import decode_body, encode_body

CERTIFICATE = {"cause": "oom", "signal": "SIGKILL", "pid": 7}


class House:
    """Its `answers` are for a `ScriptedBroker`.

    Attributes:
        rows: the sessions, by id.
        silent: OPEN and "renew" are not answered.
        elsewhere: calls with affinity "prefer" go to another worker.
        errors: what is answered to whoever names a session, instead.
    """

    def __init__(self) -> None:
        self.rows: dict[bytes, dict[str, Any]] = {}
        self.silent = False
        self.elsewhere = False
        self.errors: dict[bytes, tuple[str, dict[str, Any]]] = {}

    def answers(self, message: Any, body: Sequence[Any]) -> Iterable[frames.Frames]:
        if isinstance(message, m.Open):
            return [] if self.silent else [self._open(message, body)]
        if isinstance(message, m.Session):
            return [] if self.silent and message.verb == "renew" else [self._do(message)]
        if isinstance(message, m.Query):
            return [frames.encode(m.Reply(message.id), encode_body(list(self.rows.values())))]
        return [self._run(message, body)] if isinstance(message, m.Request) else []

    def _open(self, message: m.Open, body: Sequence[Any]) -> frames.Frames:
        if message.pool == "full":
            return self._error(message.id, "resource_exhausted", {"reason": "max_sessions"})
        self.rows[message.session] = {
            "id": message.session.hex(),
            "pool": message.pool,
            "ttl": 600.0 if message.ttl is None else message.ttl,
            "epoch": 1,
            "metadata": decode_body(body),
        }
        return self._row(message)

    def _do(self, message: m.Session) -> frames.Frames:
        missing = self._missing(message)
        if missing is not None:
            return missing
        row = self._row(message)
        if message.verb == "close":
            del self.rows[message.session]
        return row

    def _run(self, message: m.Request, body: Sequence[Any]) -> frames.Frames:
        if message.session is None:
            return frames.encode(m.Reply(message.id), encode_body(decode_body(body)))
        missing = self._missing(message)
        if missing is not None:
            return missing
        epoch = 0 if self.elsewhere and message.affinity == m.PREFER else self.rows[message.session]["epoch"]
        return frames.encode(m.Reply(message.id, epoch=epoch), encode_body(decode_body(body)))

    def _missing(self, message: m.Session | m.Request) -> frames.Frames | None:
        assert message.session is not None
        if message.session in self.errors:
            return self._error(message.id, *self.errors[message.session])
        if message.session not in self.rows:
            return self._error(message.id, "session_not_found", {"session": message.session.hex()})
        return None

    def _row(self, message: m.Open | m.Session) -> frames.Frames:
        return frames.encode(m.Reply(message.id), encode_body(self.rows[message.session]))

    def _error(self, request_id: int, code: str, details: dict[str, Any]) -> frames.Frames:
        return frames.encode(m.Error(request_id, code, f"scripted: {code}"), encode_body(details))


def said(broker: ScriptedBroker, verb: str) -> list[bytes]:
    """The sessions about which it was told so; "open" is OPEN."""
    heard = [message for _, message in broker.said]
    if verb == "open":
        return [message.session for message in heard if isinstance(message, m.Open)]
    return [message.session for message in heard if isinstance(message, m.Session) and message.verb == verb]


def end(broker: ScriptedBroker, session: str, reason: str = "lost", **details: Any) -> None:
    """Tell everybody that a session has ended."""
    broker.tell(m.SessionEnded(bytes.fromhex(session), reason), encode_body(details))
