"""A named service: its workers by load, the requests that wait for one, and what is known of its pace."""

from __future__ import annotations

from maitred.broker.core.by_load import ByLoad
from maitred.broker.core.effects import Peer
from maitred.broker.core.model import Starting, Worker
from maitred.broker.core.pace import Pace
from maitred.broker.core.places import Places
from maitred.broker.core.prefetch import ServiceTimes
from maitred.broker.core.pressure import HIGH_FROM
from maitred.broker.core.queue import Queue
from maitred.broker.core.session import Session
from maitred.broker.core.settings import PoolSettings
from maitred.protocol.messages import LEVEL_OK, Certificate, CommandInfo


class Pool:
    """One pool. `held` counts what is with workers, `size` the bytes of that and of what is queued."""

    __slots__ = (
        "busy_from",
        "commands",
        "completed",
        "degraded",
        "failed",
        "held",
        "homeless",
        "last_batch",
        "last_death",
        "level",
        "level_since",
        "outside",
        "owing",
        "pace",
        "parked",
        "queue",
        "ready",
        "refused",
        "service_times",
        "sessions",
        "settings",
        "size",
        "size_from",
        "starting",
        "watchers",
        "workers",
    )

    def __init__(self, settings: PoolSettings, now: float) -> None:
        self.settings = settings
        self.workers: dict[bytes, Worker] = {}
        self.starting: dict[bytes, Starting] = {}
        self.ready = ByLoad()
        self.queue = Queue()
        self.commands: dict[str, CommandInfo] = {}
        self.held = 0
        self.parked = 0
        """Requests of sessions that wait: for their owner, or for the one before them."""
        self.owing: dict[Worker, None] = {}
        """Workers with requests of their sessions in their own queues."""
        self.sessions: dict[bytes, Session] = {}
        self.homeless: dict[bytes, Session] = {}
        """Those that no worker owns, the longest first."""
        self.size = 0
        self.completed = 0
        self.failed = 0
        self.refused = 0
        self.service_times = ServiceTimes()
        self.pace = Pace(self.queue)
        self.outside = Places()
        """Who was refused for want of room."""
        self.last_batch: dict[str, tuple[int, float]] = {}
        """By command: how large its last batch was, and when it ended."""
        self.level = LEVEL_OK
        self.level_since = now
        self.busy_from = int(HIGH_FROM * settings.max_queue)
        self.size_from = int(HIGH_FROM * settings.max_queue_bytes)
        self.watchers: dict[tuple[Peer, int], None] = {}
        self.degraded = ""
        self.last_death: Certificate | None = None

    @property
    def name(self) -> str:
        """The name users call it by."""
        return self.settings.name

    @property
    def load(self) -> int:
        """Requests that wait or are held: what `max_queue` bounds."""
        return len(self.queue) + self.parked + self.held

    @property
    def queued(self) -> int:
        """Requests that wait."""
        return len(self.queue) + self.parked

    def fill(self, now: float) -> float:
        """How near it is to the nearest of its bounds: 1.0 is at it."""
        it = self.settings
        fill = max(self.load / it.max_queue, self.size / it.max_queue_bytes)
        interval = self.pace.interval_s(now) if self.queue else None
        return fill if interval is None else max(fill, len(self.queue) * interval[0] / it.timeout_s)

    def catalogue(self) -> None:
        """Gather what its workers announce. Call when one of them comes, goes, or announces something else."""
        self.commands = {name: info for worker in self.workers.values() for name, info in worker.commands.items()}
        self.pace.staffed(sum(worker.slots for worker in self.workers.values()))
