"""The sessions that this process owns: which there are, and what the broker wants to know of them. Time is an argument.

No sockets, no hooks: `worker.session_orders` runs those. A session is here from SESSION_OPEN to SESSION_CLOSE.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from maitred.protocol.body import decode_body
from maitred.protocol.errors import DecodeError, MaitredError, SessionLost, SessionNotFound
from maitred.protocol.frames import Frames, encode
from maitred.protocol.messages import SessionHeld, SessionOpen
from maitred.worker.session import Session
from maitred.worker.snapshots import Kept

__all__ = ["Owned", "Sessions"]

MAX_FAILED = 1024
"""Sessions that could not be opened here and are remembered: requests of theirs may be on their way already."""


class Owned:
    """One of them.

    Attributes:
        session: what the application sees.
        order: the broker's.
        metadata: the frame it came in, to be sent again as it is.
        served: requests answered here.
        used_at: when the last one was; its time to live counts from then.
        kept: what was sent of its state.
    """

    __slots__ = ("kept", "metadata", "order", "served", "session", "used_at")

    def __init__(self, order: SessionOpen, metadata: bytes, session: Session, now: float) -> None:
        self.order = order
        self.metadata = metadata
        self.session = session
        self.served = 0
        self.used_at = now
        self.kept = Kept()

    def held(self, now: float) -> Frames:
        """SESSION_HELD: this process still has it."""
        order = self.order
        left = max(0.0, self.used_at + order.ttl - now)
        message = SessionHeld(
            order.session, order.client, order.epoch, order.ttl, left, order.affinity, self.served, order.principal
        )  # fmt: skip
        return encode(message, [self.metadata])


class Sessions:
    """All of them, by id."""

    def __init__(self) -> None:
        self._owned: dict[bytes, Owned] = {}
        self._failed: dict[bytes, str] = {}

    def __len__(self) -> int:
        return len(self._owned)

    def __contains__(self, session: bytes) -> bool:
        return session in self._owned

    def open(self, order: SessionOpen, body: Sequence[Any], now: float) -> Owned:
        """Own a session from now on.

        Raises:
            DecodeError: its metadata are no map.
        """
        self._failed.pop(order.session, None)
        metadata = _metadata(body)
        session = Session(order.session.hex(), metadata, epoch=order.epoch)
        owned = self._owned[order.session] = Owned(order, bytes(body[0]), session, now)
        return owned

    def find(self, session: bytes) -> Owned | None:
        """The session of that id, None where this process does not own it (any more)."""
        return self._owned.get(session)

    def fail(self, session: bytes, text: str) -> None:
        """It could not be opened, for this reason."""
        self._owned.pop(session, None)
        if len(self._failed) >= MAX_FAILED:
            del self._failed[next(iter(self._failed))]
        self._failed[session] = text

    def absence(self, session: bytes) -> MaitredError:
        """What a request of one that is not here is told: it ended or moved while that was on its way, or failed."""
        name = session.hex()
        if session in self._failed:
            text = f"session {name} could not be opened: {self._failed[session]}"
            return SessionLost(text, session=name, reason="failed")
        return SessionNotFound(f"this worker has no session {name} (any more)", session=name)

    def close(self, session: bytes) -> Owned | None:
        """Own it no longer; returns it, where it was owned."""
        return self._owned.pop(session, None)

    def answered(self, session: bytes, now: float, *, well: bool) -> None:
        """A request of it was answered; `well`: its function returned."""
        owned = self._owned.get(session)
        if owned is not None:
            owned.served += 1
            owned.used_at = now
            owned.kept.used(now, well=well)

    def all(self) -> list[Owned]:
        """In the order they were opened."""
        return list(self._owned.values())


def _metadata(body: Sequence[Any]) -> dict[str, Any]:
    found = decode_body(body[:1])
    if not isinstance(found, dict):
        raise DecodeError(f"a session's metadata are a map, not {type(found).__name__}")
    return cast("dict[str, Any]", found)
