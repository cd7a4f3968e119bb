"""A session as data: whose it is, who owns it, what waits for it. Nothing here decides anything.

A session is in one of these states:

    homeless   no worker owns it (yet, or between two); its requests wait
    owned      its requests go to its owner, one at a time
    lost       its owner is gone and it has no snapshot: whoever asks is told so, until its time to live has passed
    supposed   the broker is new and has not heard of it; the worker that holds it may be about to say so
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from maitred.broker.core.effects import Peer
from maitred.broker.core.line import Line
from maitred.broker.core.model import Request, Worker
from maitred.broker.core.policy import Principal

if TYPE_CHECKING:
    from maitred.broker.core.pool import Pool


class Session:
    """One session. Times are the core's, `ttl_s` counts from the last reply."""

    __slots__ = (
        "affinity",
        "askers",
        "client",
        "closing",
        "current",
        "ended",
        "epoch",
        "expires_at",
        "id",
        "kept",
        "lines",
        "listeners",
        "look_at",
        "metadata",
        "opened_at",
        "pool",
        "principal",
        "served",
        "served_before",
        "snapshot",
        "snapshot_size",
        "supposed",
        "ttl_s",
        "worker",
    )

    def __init__(self, session_id: bytes, client: bytes, pool: Pool | None, ttl_s: float, now: float) -> None:
        self.id = session_id
        self.client = client
        self.principal = ""  # the name of its opener's, where he has a key: only he may use it
        self.pool = pool  # None: supposed, and nobody has said yet which
        self.ttl_s = ttl_s
        self.affinity = 0
        self.metadata: Any = b"\x80"
        self.epoch = 0
        self.worker: Worker | None = None
        self.opened_at = now
        self.expires_at = now + ttl_s
        self.look_at = self.expires_at  # when it is found out whether it has run out
        self.supposed = False
        self.closing = ""  # why its owner is to be told that it has ended, once what runs for it has ended
        self.served = 0
        self.served_before = 0  # by earlier owners
        self.kept = 0  # of those served, as many when the snapshot was taken
        self.current: Request | None = None
        """The request whose turn it is: in its owner's queue, with its owner, or abandoned there and still running."""
        self.lines: Line | None = None
        """The requests behind it, in order; None where there never was one."""
        self.snapshot: Sequence[Any] | None = None
        self.snapshot_size = 0
        self.listeners: dict[Peer, None] = {}
        self.askers: list[tuple[Peer, int]] = []
        """Who waits for it to have an owner."""
        self.ended: tuple[str, dict[str, Any]] | None = None
        """Where it is lost: the sentence, and the details of the error."""

    def is_open_to(self, principal: Principal) -> bool:
        """Whether somebody may use it, who knows its id."""
        return not self.principal or self.principal == principal.account

    @property
    def waiting(self) -> int:
        """Requests that wait behind the current one."""
        return 0 if self.lines is None else len(self.lines)

    @property
    def requests(self) -> list[Request]:
        """Its unanswered ones, in order, and the one that runs though it was answered."""
        return [*([self.current] if self.current is not None else []), *(self.lines or ())]

    @property
    def busy(self) -> bool:
        """Whether a request of it is unanswered, or still runs."""
        return self.current is not None or bool(self.lines)

    @property
    def name(self) -> str:
        """Its id as people write it."""
        return self.id.hex()
