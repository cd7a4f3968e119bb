"""What both kinds of session object show of their lease; and what a call makes of the session it was given."""

from __future__ import annotations

from typing import Any

from maitred.client.errors import MaitredError
from maitred.client.lease import Lease, Move
from maitred.client.opening import key_of

__all__ = ["Leased", "session_key"]


class Leased:
    """What both kinds of session object show.

    A call that is given one as `session=` runs on its worker.
    """

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    @property
    def lease(self) -> Lease:
        """What is known of it; of use to the client only."""
        return self._lease

    @property
    def id(self) -> str:
        """Its id in hexadecimal, for `client.session(id=…)` elsewhere. Whoever knows it may use the session."""
        return self._lease.key.hex()

    @property
    def pool(self) -> str:
        """Its pool's name."""
        return self._lease.pool

    @property
    def metadata(self) -> dict[str, Any]:
        """What it was opened with, and `created_at` (UTC, ISO 8601) and `pool`."""
        return dict(self._lease.metadata)

    @property
    def ttl(self) -> float | None:
        """Seconds that it lives on after its last reply."""
        return self._lease.ttl

    @property
    def epoch(self) -> int:
        """Counts the workers that have owned it, from 1: as of the last that was heard of it."""
        return self._lease.epoch

    @property
    def moved(self) -> bool:
        """Whether another worker owns it now than when it was opened or attached to: it has its last snapshot."""
        return self._lease.moved

    @property
    def last_move(self) -> Move | None:
        """What its new owner was given, where it moved: how many of the answered requests its state still knows of."""
        return self._lease.last_move

    @property
    def elsewhere(self) -> bool:
        """Whether the last reply came from another worker, without the session's state (affinity "prefer")."""
        return self._lease.elsewhere

    @property
    def closed(self) -> bool:
        """Whether it was closed here."""
        return self._lease.closed

    @property
    def lost(self) -> MaitredError | None:
        """Why it has ended, if it has: what its next call raises. None where it was closed here."""
        return self._lease.lost

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open" if self.lost is None else f"lost: {self.lost}"
        return f"<{type(self).__name__} {self.id[:8]}… of pool {self.pool!r}, {state}>"


def session_key(session: Leased | str) -> bytes:
    """The 128-bit id of what a call was given as its session.

    Raises:
        ValueError: it is none.
        SessionNotFound: it was closed here.
    """
    if isinstance(session, Leased):
        session.lease.check()
        return session.lease.key
    return key_of(session)
