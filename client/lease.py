"""What is known here of one session, without I/O: what was asked for, what the broker has said of it since.

The conversation about it is `joining` and what `hear` is told, in the background thread or the event loop; `of_call` hears
what the session's own calls are answered, in whichever thread they are. `Session` and `AsyncSession` are the verbs around
it. Nothing here holds the client, so that an open session does not keep it alive.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, cast

from maitred.client.errors import DeadlineExceeded, MaitredError, SessionLost, SessionNotFound, SessionPoolMismatch
from maitred.client.opening import Wanted
from maitred.protocol import messages
from maitred.protocol.body import decode_body
from maitred.protocol.client import Failed, PartArrived, Replied
from maitred.protocol.client_events import SessionEndedEvent, SessionMovedEvent

__all__ = ["Lease", "Move", "OnLost", "SessionEvent"]

SessionEvent: TypeAlias = Replied | Failed | SessionEndedEvent | SessionMovedEvent

OnLost: TypeAlias = Callable[[MaitredError], object]
"""Takes the error that the session's next call would raise."""

_log = logging.getLogger(__name__)


class Move(NamedTuple):
    """What became of a session's state when its owner was gone.

    Attributes:
        epoch: of the new owner, counted from 1.
        answered: requests of the session that had been answered.
        kept: of these, those that had been when the snapshot was taken that the new owner was given. What the later ones
            changed is lost; with a snapshot after each request, as by default, none is missing that changed anything.
    """

    epoch: int
    answered: int
    kept: int


class Lease:
    """See above.

    Args:
        wanted: what is to be done, and with which session.
        on_lost: called once, when the session ends and it was not closed here.
        woke: called when it is known whether it was joined.

    Attributes:
        key: the session's 128-bit id.
        pool, metadata, ttl, epoch: as told by the broker; the first three as asked for until then.
        moved: whether it has had another owner since it was joined.
        last_move: what its new owner was given, as far as that was heard of.
        elsewhere: whether the last reply came from a worker that is not its owner (affinity "prefer").
        closed: whether it was closed here.
        lost: why it has ended, where it was not closed here.
        joined: whether the broker has said yes.
        refused: why not.
    """

    def __init__(
        self, wanted: Wanted, on_lost: OnLost | None = None, woke: Callable[[], object] = lambda: None
    ) -> None:
        opening = wanted.opening
        self.key = wanted.key
        self.pool = "" if opening is None else opening.pool
        self.metadata: dict[str, Any] = {} if opening is None else opening.metadata
        self.ttl = None if opening is None else opening.ttl
        self.epoch = 0
        self.moved = False
        self.last_move: Move | None = None
        self.elsewhere = False
        self.closed = False
        self.lost: MaitredError | None = None
        self.joined = False
        self.refused: MaitredError | None = None
        self.body = () if opening is None else opening.body
        self._opening = opening
        self._on_lost = on_lost
        self._woke = woke

    def joining(self, request_id: int) -> messages.Open | messages.Session:
        """What is said to have it, and to be told of it."""
        it = self._opening
        if it is None:
            return messages.Session(request_id, self.key, "attach")
        return messages.Open(request_id, self.key, it.pool, it.ttl, it.affinity)

    def hear(self, event: SessionEvent) -> None:
        """Take in what the broker says of it."""
        match event:
            case Replied():
                self._told(event)
            case SessionMovedEvent():
                self.last_move = Move(event.epoch, event.answered, event.kept)
                self._owned_by(event.epoch)
            case SessionEndedEvent():
                self._end(event.error)
            case Failed() if self.joined:
                if isinstance(event.error, SessionLost | SessionNotFound):  # it ended while there was no broker to tell
                    self._end(event.error)
            case Failed():
                self.refused = event.error
                self._woke()

    def of_call(self, answer: Replied | Failed | PartArrived) -> None:
        """Take in what one of its calls was answered. From any thread."""
        if isinstance(answer, Replied):
            self.elsewhere = not answer.epoch
            self._owned_by(answer.epoch)
        elif isinstance(answer, Failed) and isinstance(answer.error, SessionLost | SessionNotFound):
            self.lost = self.lost or answer.error

    def check(self) -> None:
        """Refuse to go on with what was closed here.

        Raises:
            SessionNotFound: it was.
        """
        if self.closed:
            session = self.key.hex()
            raise SessionNotFound(f"session {session} was closed here", session=session, reason="closed")

    def check_joined(self, pool: str | None) -> None:
        """Say why it was not joined, or why it is not the one that was meant.

        Raises:
            MaitredError: that is why.
        """
        if self.refused is not None:
            raise self.refused
        if pool is not None and pool != self.pool:
            session = self.key.hex()
            text = f"session {session} belongs to pool {self.pool!r}, not to {pool!r}"
            raise SessionPoolMismatch(text, session=session, pool=self.pool)

    def overdue(self, timeout: float | None) -> DeadlineExceeded:
        """It was not joined in time."""
        what = "no word of the session" if self._opening is None else f"no worker for a session of pool {self.pool!r}"
        return DeadlineExceeded(f"{what} within {timeout:g} s", pool=self.pool, where="queued", timeout=timeout)

    def _told(self, event: Replied) -> None:
        row = _row(event)
        self.pool = row.get("pool") or self.pool
        self.ttl = row.get("ttl", self.ttl)
        self.metadata = row.get("metadata") or self.metadata
        self._owned_by(row.get("epoch") or 0)
        self.joined = True
        self._woke()

    def _owned_by(self, epoch: int) -> None:
        if epoch > self.epoch:
            self.moved = self.epoch > 0
            self.epoch = epoch

    def _end(self, error: MaitredError) -> None:
        if self.closed:
            return
        self.lost = self.lost or error
        if self._on_lost is None:
            return
        try:
            self._on_lost(error)
        except (Exception, SystemExit):  # `sys.exit` in a callback ends no thread, and no loop, of ours
            _log.exception("the on_lost callback of a session of pool %r failed", self.pool)


def _row(event: Replied) -> dict[str, Any]:
    try:
        found = decode_body(event.body)
    except MaitredError:
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}
