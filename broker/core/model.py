"""The vocabulary as data: request, client, worker (`agent` and `session` are others). Nothing here decides anything.

Each request is in exactly one place: its pool's queue, or one worker's `held`. One that was answered before its worker
was done with it (deadline, client gone) is in that worker's `abandoned`, where it still takes a slot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from maitred.broker.core.account import Account
from maitred.broker.core.effects import Peer
from maitred.broker.core.journey import Journey
from maitred.broker.core.listener import Listener
from maitred.broker.core.policy import TRUSTED, Principal
from maitred.broker.core.prefetch import FIRST_ROUND_TRIP_S, MAX_WAIT_S, UNKNOWN_S
from maitred.broker.core.rights import Calls
from maitred.broker.core.settings import ClientSettings
from maitred.protocol.messages import NORMAL, CommandInfo
from maitred.protocol.own_events import Allowance

if TYPE_CHECKING:
    from maitred.broker.core.pool import Pool
    from maitred.broker.core.queue import Queue
    from maitred.broker.core.session import Session

Key = tuple[bytes, int]
"""(client id, request id)."""


class Batch:
    """Requests that a worker runs as one. They take one slot, until the last of them has left the worker."""

    __slots__ = ("entered", "left", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.entered = 0
        self.left = size


class Request:
    """One accepted request, from admission to its terminal reply."""

    __slots__ = (
        "admitted",
        "alone",
        "attempt",
        "attempts",
        "batch",
        "body",
        "cancelled",
        "command",
        "deadline",
        "dispatched_at",
        "expected_s",
        "idempotent",
        "identity",
        "in_batches",
        "journey",
        "key",
        "peer",
        "pool",
        "priority",
        "recalled",
        "received_at",
        "session",
        "size",
        "suspected",
        "timeout",
        "trace",
        "window",
        "worker",
    )

    def __init__(
        self, key: Key, peer: Peer, identity: Identity, pool: Pool, command: str, body: Sequence[Any], size: int
    ) -> None:
        self.key = key
        self.peer = peer
        self.identity = identity
        self.pool = pool
        self.command = command
        self.body = body
        self.size = size
        self.admitted = 0
        self.priority = NORMAL
        self.attempt = 1
        self.attempts = 1
        self.idempotent: bool | None = None  # None: as the command declares
        self.window = 0
        self.in_batches = False
        self.suspected = False  # a worker died when it ran
        self.timeout = 0.0  # as its caller gave it, or the pool
        self.received_at = 0.0
        self.dispatched_at = 0.0
        self.expected_s = 0.0  # what its command was expected to take when it was dispatched
        self.alone = False  # whether its worker was idle when it was dispatched
        self.recalled = False
        self.deadline = 0.0
        self.cancelled = ""  # why it was told to stop while it ran, while its client still waits
        self.worker: Worker | None = None
        self.batch: Batch | None = None
        self.session: Session | None = None
        self.trace = ""  # what is passed on of its caller's; "": it is not traced
        self.journey: Journey | None = None


class Identity:
    """One client process, by the id that it drew: what is shared by all its connections."""

    __slots__ = ("account", "connections", "id", "name", "principal")

    def __init__(
        self,
        client_id: bytes,
        name: str,
        settings: ClientSettings,
        retries: float,
        principal: Principal = TRUSTED,
        account: Account | None = None,
    ) -> None:
        self.id = client_id
        self.name = name
        self.principal = principal
        self.account = Account(client_id, settings, retries) if account is None else account
        self.connections = 0


class Client:
    """One connection of a client process, and what it waits for."""

    __slots__ = (
        "bundles", "calls", "heard_at", "id", "identity", "listens", "peer", "principal", "same_clock", "sessions",
        "software", "user", "waiting", "watches",
    )  # fmt: skip

    def __init__(self, peer: Peer, identity: Identity, software: str, now: float) -> None:
        self.peer = peer
        self.id = identity.id
        self.identity = identity
        self.principal = identity.principal  # another connection of the process may have shown the secret
        self.calls: Calls | None = None  # None: it may call everything
        self.user = ""
        self.software = software
        self.bundles = False  # whether it may be sent some
        self.same_clock = False
        self.heard_at = now
        self.waiting: dict[int, Request] = {}
        self.watches: dict[int, Pool] = {}
        self.listens: dict[int, Listener] = {}
        self.sessions: dict[bytes, Session] = {}  # whose end it is told of


class Worker:
    """One worker process that has registered: it runs `slots` requests at a time and may hold `prefetch` more."""

    __slots__ = (
        "abandoned",
        "at",
        "bundles",
        "check",
        "commands",
        "control",
        "cpu",
        "draining",
        "expected_s",
        "gpu",
        "gpu_bytes",
        "gpu_use",
        "heard_at",
        "held",
        "host",
        "id",
        "lag_s",
        "overdue",
        "peer",
        "pid",
        "pool",
        "prefetch",
        "principal",
        "problem",
        "queue",
        "registered_at",
        "retirement",
        "round_trip_s",
        "rss",
        "same_clock",
        "served",
        "served_before",
        "sessions",
        "slots",
        "stuck",
        "surplus",
        "suspect",
        "token",
        "told",
        "tree_rss",
        "user",
        "vouched_at",
    )

    def __init__(self, worker_id: bytes, token: bytes, pool: Pool, peer: Peer, slots: int, now: float) -> None:
        self.id = worker_id
        self.token = token
        self.pool = pool
        self.peer = peer
        self.slots = slots
        self.principal = TRUSTED  # who registered it
        self.user = ""
        self.prefetch = 0
        self.expected_s = 0.0  # of all it holds
        self.round_trip_s = FIRST_ROUND_TRIP_S
        self.control: Peer | None = None
        self.commands: dict[str, CommandInfo] = {}
        self.held: dict[Key, Request] = {}
        self.abandoned: dict[Key, Request | None] = {}  # None: from an earlier life of the broker
        self.surplus = 0  # requests beyond the first of each batch: they take no slot of their own
        self.draining = False  # it is given no new request or session
        self.retirement: Retirement | None = None  # why, where somebody wants it to go
        self.suspect = False
        self.stuck: dict[Key, None] = {}  # abandoned ones that do not stop, and must not be killed
        self.heard_at = now
        self.vouched_at = now
        self.registered_at = now
        self.host = ""
        self.pid = 0
        self.rss = 0  # as it says
        self.tree_rss = 0  # as its agent sees it, children included; 0: it has not said
        self.cpu = 0.0
        self.lag_s = 0.0
        self.at: tuple[Key, float] | None = None
        """What it said it was at, and since when."""
        self.gpu = ""  # UUID of the one it was given
        self.gpu_bytes = 0
        self.gpu_use = 0.0
        self.served = 0
        self.served_before = -1  # when the pool's health was last looked at; -1: it came later
        self.check: tuple[int, float] | None = (
            None  # the CHECK that it has not answered: its number, and when it was sent
        )
        self.overdue = False  # it does not answer that, and is suspect until it does
        self.problem = ""  # what its own health check found
        self.bundles = False
        self.same_clock = False
        self.told: Allowance | None = None  # how many events of its own it may tell; None: it has told none
        self.sessions: dict[bytes, Session] = {}
        self.queue: Queue | None = None
        """Requests of its sessions whose turn it is; None where it never had one."""

    @property
    def load(self) -> int:
        """Slots taken."""
        return len(self.held) + len(self.abandoned) - self.surplus

    @property
    def ready(self) -> bool:
        """Whether it may be given one more request, as far as their number goes."""
        return self.has_room(self.load)

    def has_room(self, load: int) -> bool:
        """The same, with so many slots taken."""
        if self.draining or self.suspect or self.stuck:
            return False
        return load < (self.slots if self.queue else self.slots + self.prefetch)  # what may go nowhere else comes first

    def has_room_for_its_own(self, load: int) -> bool:
        """The same, for requests of its sessions: who is to go runs them until then, as they may go nowhere else."""
        if not self.draining:
            return self.has_room(load)
        if self.suspect or self.stuck or self.retirement is None or self.retirement.dismissed:
            return False
        return load < self.slots

    def oldest(self) -> Key | None:
        """What it was given first and has not answered: what it runs, where it runs one at a time."""
        return next(iter(self.abandoned), None) or next(iter(self.held), None)

    def may_take(self, expected_s: float) -> bool:
        """Whether a request of so many seconds may be sent to it now (see `core.prefetch`)."""
        load = self.load
        if load < self.slots:
            return True
        if self.abandoned or expected_s >= UNKNOWN_S:
            return False
        return self.expected_s < self.round_trip_s or (load == self.slots and self.expected_s <= MAX_WAIT_S)

    @property
    def state(self) -> str:
        """The word for it in tables."""
        if self.suspect or self.stuck:
            return "suspect"
        if self.draining:
            return "draining"
        return "busy" if self.load else "idle"


class Retirement:
    """Somebody wants a worker to go: why, and until when it keeps its requests and sessions (the core's time)."""

    __slots__ = ("cause", "deadline", "dismissed", "note", "told", "worker")

    def __init__(self, worker: Worker, cause: str, note: str, deadline: float) -> None:
        self.worker = worker
        self.cause = cause
        self.note = note
        self.deadline = deadline
        self.dismissed = False
        self.told: Peer | None = None  # who was sent DISMISS: its agent, or itself
