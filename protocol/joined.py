"""The sessions that one connection of a client is told of, and what it is told. Without I/O.

A session is joined by OPEN, or by SESSION with "attach"; the id of that request names its use from then on. Each time that
the broker does not know the connection any more, "attach" is said again with the same id: it asks for nothing to be done.
"""

from __future__ import annotations

from typing import Any, cast

from maitred.protocol import messages
from maitred.protocol.client_events import SessionEndedEvent, SessionMovedEvent
from maitred.protocol.errors import MaitredError, SessionLost, SessionNotFound

__all__ = ["Joined"]

_NOT_FOUND = frozenset({"expired", "closed"})
"""Reasons after which the broker knows of the session no more; after any other, its state was lost."""


class Joined:
    """The books: which request joined which session.

    Attributes:
        sessions: session ids by request id.
    """

    def __init__(self) -> None:
        self.sessions: dict[int, bytes] = {}
        self._requests: dict[bytes, dict[int, None]] = {}

    def add(self, request_id: int, session: bytes) -> None:
        """A request is about to join a session. Several may join the same one."""
        self.sessions[request_id] = session
        self._requests.setdefault(session, {})[request_id] = None

    def remove(self, request_id: int) -> None:
        """It has ended, or is of no interest any more. Nothing where it joined none."""
        session = self.sessions.pop(request_id, None)
        if session is not None:
            requests = self._requests[session]
            del requests[request_id]
            if not requests:
                del self._requests[session]

    def clear(self) -> None:
        """Forget all."""
        self.sessions.clear()
        self._requests.clear()

    def attach(self, request_id: int) -> messages.Session:
        """What is said to a broker that does not know of it."""
        return messages.Session(request_id, self.sessions[request_id], "attach")

    def ended(self, message: messages.SessionEnded, details: dict[str, Any]) -> list[SessionEndedEvent]:
        """What it means to each that joined the session; each gets an error of its own."""
        found = self._requests.get(message.session, ())
        return [SessionEndedEvent(request_id, message.reason, _ending(message, details)) for request_id in found]

    def moved(self, message: messages.SessionMoved) -> list[SessionMovedEvent]:
        """The same."""
        found = self._requests.get(message.session, ())
        return [SessionMovedEvent(it, message.epoch, message.answered, message.kept) for it in found]


def _ending(message: messages.SessionEnded, details: dict[str, Any]) -> MaitredError:
    kind = SessionNotFound if message.reason in _NOT_FOUND else SessionLost
    session = message.session.hex()
    plain = {str(key): value for key, value in details.items() if key not in ("self", "message")}
    certificate = plain.get("certificate")
    cause = cast("dict[str, Any]", certificate).get("cause") if isinstance(certificate, dict) else None
    text = f"session {session} has ended: {message.reason}{f' ({cause})' if cause else ''}"
    return kind(text, **{"session": session, "reason": message.reason} | plain)
