"""The vocabulary as data: request, client, worker, agent, pool. Who is where; nothing here decides anything.

Each request is in exactly one place: its pool's queue, or one worker's `held`. One that was answered before its worker
was done with it (deadline, client gone) is a `Key` in that worker's `abandoned`, which still takes a slot.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import Any

from maitred.broker.core.effects import Peer
from maitred.broker.core.prefetch import FIRST_ROUND_TRIP_S, MAX_WAIT_S, UNKNOWN_S, ServiceTimes
from maitred.broker.core.settings import PoolSettings
from maitred.protocol.messages import Certificate, CommandInfo

Key = tuple[bytes, int]
"""(client id, request id)."""


class Request:
    """One accepted request, from admission to its terminal reply."""

    __slots__ = (
        "admitted",
        "alone",
        "attempt",
        "attempts",
        "body",
        "cancelled",
        "command",
        "deadline",
        "dispatched_at",
        "expected_s",
        "idempotent",
        "key",
        "peer",
        "pool",
        "recalled",
        "received_at",
        "window",
        "worker",
    )

    def __init__(self, key: Key, peer: Peer, pool: Pool, command: str, body: Sequence[Any]) -> None:
        self.key = key
        self.peer = peer
        self.pool = pool
        self.command = command
        self.body = body
        self.admitted = 0
        self.attempt = 1
        self.attempts = 1
        self.idempotent: bool | None = None  # None: as the command declares
        self.window = 0
        self.received_at = 0.0
        self.dispatched_at = 0.0
        self.expected_s = 0.0  # what its command was expected to take when it was dispatched
        self.alone = False  # whether its worker was idle when it was dispatched
        self.recalled = False
        self.deadline = 0.0
        self.cancelled = False
        self.worker: Worker | None = None


class Client:
    """One connection of a client process, and what it waits for."""

    __slots__ = ("heard_at", "id", "peer", "software", "waiting")

    def __init__(self, peer: Peer, client_id: bytes, software: str, now: float) -> None:
        self.peer = peer
        self.id = client_id
        self.software = software
        self.heard_at = now
        self.waiting: dict[int, Request] = {}


class Worker:
    """One worker process that has registered: it runs `slots` requests at a time and may hold `prefetch` more."""

    __slots__ = (
        "abandoned",
        "commands",
        "control",
        "cpu",
        "draining",
        "expected_s",
        "heard_at",
        "held",
        "host",
        "id",
        "peer",
        "pid",
        "pool",
        "prefetch",
        "registered_at",
        "round_trip_s",
        "rss",
        "served",
        "slots",
        "suspect",
        "token",
        "vouched_at",
    )

    def __init__(self, worker_id: bytes, token: bytes, pool: Pool, peer: Peer, slots: int, now: float) -> None:
        self.id = worker_id
        self.token = token
        self.pool = pool
        self.peer = peer
        self.slots = slots
        self.prefetch = 0
        self.expected_s = 0.0  # of all it holds
        self.round_trip_s = FIRST_ROUND_TRIP_S
        self.control: Peer | None = None
        self.commands: dict[str, CommandInfo] = {}
        self.held: dict[Key, Request] = {}
        self.abandoned: dict[Key, float] = {}
        self.draining = False
        self.suspect = False
        self.heard_at = now
        self.vouched_at = now
        self.registered_at = now
        self.host = ""
        self.pid = 0
        self.rss = 0
        self.cpu = 0.0
        self.served = 0

    @property
    def load(self) -> int:
        """Slots taken."""
        return len(self.held) + len(self.abandoned)

    @property
    def ready(self) -> bool:
        """Whether it may be given one more request, as far as their number goes."""
        return self.has_room(self.load)

    def has_room(self, load: int) -> bool:
        """The same, with so many slots taken."""
        return load < self.slots + self.prefetch and not self.draining and not self.suspect

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
        if self.suspect:
            return "suspect"
        if self.draining:
            return "draining"
        return "busy" if self.load else "idle"


class Starting:
    """A worker process that was started and has not registered yet."""

    __slots__ = ("agent", "pid", "since")

    def __init__(self, agent: Agent, pid: int, since: float) -> None:
        self.agent = agent
        self.pid = pid
        self.since = since


class Agent:
    """The parent of a pool's workers on one host."""

    __slots__ = ("heard_at", "host", "id", "peer", "pid", "pool", "workers")

    def __init__(self, agent_id: bytes, pool: Pool, peer: Peer, host: str, pid: int, now: float) -> None:
        self.id = agent_id
        self.pool = pool
        self.peer = peer
        self.host = host
        self.pid = pid
        self.heard_at = now
        self.workers: dict[bytes, None] = {}


class Pool:
    """A named service: its workers by load, and the requests that wait for one."""

    __slots__ = (
        "commands",
        "completed",
        "degraded",
        "failed",
        "held",
        "last_death",
        "queue",
        "ready",
        "refused",
        "service_s",
        "service_times",
        "settings",
        "starting",
        "workers",
    )

    def __init__(self, settings: PoolSettings) -> None:
        self.settings = settings
        self.workers: dict[bytes, Worker] = {}
        self.starting: dict[bytes, Starting] = {}
        self.ready = ByLoad()
        self.queue = Queue()
        self.commands: dict[str, CommandInfo] = {}
        self.held = 0
        self.completed = 0
        self.failed = 0
        self.refused = 0
        self.service_s: float | None = None
        self.service_times = ServiceTimes()
        self.degraded = ""
        self.last_death: Certificate | None = None

    @property
    def name(self) -> str:
        """The name users call it by."""
        return self.settings.name

    def catalogue(self) -> None:
        """Gather what its workers announce. Call when one of them comes, goes, or announces something else."""
        self.commands = {name: info for worker in self.workers.values() for name, info in worker.commands.items()}


class Queue:
    """Waiting requests in order of admission. A re-queued one goes back to where it stood."""

    __slots__ = ("_fresh", "_returned")

    def __init__(self) -> None:
        self._fresh: dict[int, Request] = {}
        self._returned: list[tuple[int, Request]] = []

    def __len__(self) -> int:
        return len(self._fresh) + len(self._returned)

    def __iter__(self) -> Iterator[Request]:
        """All of them, in order."""
        returned = [request for _, request in sorted(self._returned, key=lambda pair: pair[0])]
        return heapq.merge(returned, self._fresh.values(), key=lambda request: request.admitted)

    def __contains__(self, request: Request) -> bool:
        return request.admitted in self._fresh or any(request is other for _, other in self._returned)

    def push(self, request: Request) -> None:
        """Append a newly admitted request; its number is higher than any before."""
        self._fresh[request.admitted] = request

    def give_back(self, request: Request) -> None:
        """Put a request back where its number belongs."""
        heapq.heappush(self._returned, (request.admitted, request))

    def first(self) -> Request:
        """The oldest."""
        fresh = next(iter(self._fresh), None)
        if self._returned and (fresh is None or self._returned[0][0] < fresh):
            return self._returned[0][1]
        assert fresh is not None, "an empty queue"
        return self._fresh[fresh]

    def pop(self) -> Request:
        """Take the oldest."""
        if self._returned and (not self._fresh or self._returned[0][0] < next(iter(self._fresh))):
            return heapq.heappop(self._returned)[1]
        return self._fresh.pop(next(iter(self._fresh)))

    def remove(self, request: Request) -> None:
        """Take this one out, wherever it stands."""
        if self._fresh.pop(request.admitted, None) is None:
            self._returned = [pair for pair in self._returned if pair[1] is not request]
            heapq.heapify(self._returned)


class ByLoad:
    """Workers that have room, by how much they hold: the least loaded, longest waiting one is found in O(slots)."""

    __slots__ = ("_levels", "_where")

    def __init__(self) -> None:
        self._levels: dict[int, dict[bytes, Worker]] = {}
        self._where: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, worker: Worker) -> bool:
        return worker.id in self._where

    def place(self, worker: Worker) -> None:
        """Put the worker where its load says, or nowhere if it may take nothing. Call after every change of it."""
        self.remove(worker)
        load = worker.load
        if worker.has_room(load):
            level = self._levels.get(load)
            if level is None:
                level = self._levels[load] = {}
            level[worker.id] = worker
            self._where[worker.id] = load

    def remove(self, worker: Worker) -> None:
        """Take the worker out."""
        load = self._where.pop(worker.id, None)
        if load is not None:
            level = self._levels[load]
            del level[worker.id]
            if not level:
                del self._levels[load]

    def least(self) -> Worker | None:
        """The worker to give the next request to, or None where none has room."""
        if not self._levels:
            return None
        return next(iter(self._levels[min(self._levels)].values()))
