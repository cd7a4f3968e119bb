"""A named service: its workers by load, the requests that wait for one, and what is known of its pace."""

from __future__ import annotations

from msgspec import Struct

from maitred.broker.core.agent import Starting
from maitred.broker.core.by_load import ByLoad, Shut
from maitred.broker.core.effects import Peer
from maitred.broker.core.meters import Meters
from maitred.broker.core.model import Worker
from maitred.broker.core.pace import Pace
from maitred.broker.core.places import Places
from maitred.broker.core.prefetch import ServiceTimes
from maitred.broker.core.pressure import HIGH_FROM
from maitred.broker.core.queue import Queue
from maitred.broker.core.session import Session
from maitred.broker.core.settings import PoolSettings
from maitred.broker.core.sizing import Sizing
from maitred.protocol.messages import LEVEL_OK, CommandInfo


class Vacancy(Struct, frozen=True):
    """The place of an agent that is gone without a word."""

    size: int
    least: int
    most: int


class PoolHealth:
    """When a pool was looked at, and what was found.

    Attributes:
        look_at: when its workers are checked next, and its health is told.
        looked_at: when they were last.
        busy_before_s: of its workers' time, until then.
        utilisation: share of its workers' time that was busy between the last two looks, from 0 to 1.
        waits_since: since when there has been work without a break, less the time in which there was no worker for it.
        seen_at: when that was last found out.
        stalled: why it is taken to consume nothing; empty: it is not.
    """

    __slots__ = ("busy_before_s", "look_at", "looked_at", "seen_at", "stalled", "utilisation", "waits_since")

    def __init__(self, now: float, interval_s: float) -> None:
        self.look_at = now + interval_s
        self.looked_at = now
        self.busy_before_s = 0.0
        self.utilisation = 0.0
        self.waits_since = now
        self.seen_at = now
        self.stalled = ""


class Pool:
    """One pool. `held` counts what is with workers, `size` the bytes of that and of what is queued."""

    __slots__ = (
        "busy_from",
        "closed",
        "commands",
        "completed",
        "deaths",
        "degraded",
        "dynamic",
        "failed",
        "health",
        "held",
        "homeless",
        "last_batch",
        "level",
        "level_since",
        "meters",
        "outside",
        "owing",
        "pace",
        "parked",
        "paused",
        "peak",
        "queue",
        "ready",
        "refused",
        "service_times",
        "sessions",
        "settings",
        "size",
        "size_from",
        "sizing",
        "starting",
        "vacant",
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
        self.meters = Meters()
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
        self.closed = ""
        """Why it refuses what is new; empty: it does not."""
        self.paused = False
        self.deaths: dict[str, int] = {}
        """How many of its workers have died, by cause."""
        self.dynamic = False
        """Whether it has an agent that may keep more or fewer workers as the load demands."""
        self.sizing = Sizing(settings)
        self.peak = 0
        """The most that was with workers at a time since its size was last thought over."""
        self.vacant: dict[tuple[str, str], Vacancy] = {}
        """By principal and host: what an agent that is gone was told, for the one that takes its place."""
        self.health = PoolHealth(now, settings.health_check_interval_s)

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

    def pause(self) -> None:
        """Give nothing to workers, until `resume`."""
        self.paused = True
        self.ready = Shut()

    def resume(self) -> None:
        """The opposite. What waits is still to be dispatched."""
        self.paused = False
        self.ready = ByLoad()
        for worker in self.workers.values():
            self.ready.place(worker)

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
