"""An agent as a model of the protocol: it keeps as many workers as it is told, and replaces those that end.

It does what `docs/protocol.md` says of RESIZE, DISMISS, RECYCLE and FENCE, and knows nothing else of the broker. Its
workers are silent: what they are sent is in the bench's inbox.
"""

from __future__ import annotations

from typing import Any

from broker_peers import POOL, Bench, id128

from maitred.broker.core.effects import Peer, Side
from maitred.protocol import messages as m


class AgentModel:
    """`ready` workers by their number, those `starting`; both oldest first."""

    def __init__(self, bench: Bench, number: int = 500, size: int = 1, **fields: Any) -> None:
        self.bench = bench
        self.number = number
        self.size = size
        self.fields = {"least": size, "most": size, "host": f"host-{number}"} | fields
        self.starting: list[int] = []
        self.ready: dict[int, Peer] = {}
        self.retired: list[int] = []
        self.to_recycle: list[int] = []
        self.resized: list[int] = []
        self.dismissed: list[m.Dismiss] = []
        self.fenced: list[m.Fence] = []
        self._count = 0
        self.connect()

    def connect(self) -> None:
        """Introduce itself, with the workers that it has."""
        self.peer = self.bench.peer(Side.WORKERS)
        self.bench.tell(self.peer, m.Agent(id128(self.number), POOL, size=self.size, **self.fields))
        for worker in [*self.ready, *self.starting]:
            self.bench.tell(self.peer, m.Spawned(id128(worker), worker))
        self.keep()

    def keep(self) -> None:
        """Start what is missing, and end what is one too many and not ready."""
        staying = len([one for one in self.ready if one not in self.retired])
        while staying + len(self.starting) - bool(self.to_recycle) > self.size and self.starting:
            self.bury(self.starting.pop(), "drain")
        while staying + len(self.starting) - bool(self.to_recycle) < self.size:
            self.start()

    def start(self) -> int:
        self._count += 1
        worker = self.number * 1000 + 10 * self._count
        self.starting.append(worker)
        self.bench.tell(self.peer, m.Spawned(id128(worker), worker))
        return worker

    def get_ready(self, count: int = 1000) -> list[Peer]:
        """Let workers that are starting register; returns all that are ready."""
        for worker in self.starting[:count]:
            if worker not in self.starting:  # one too many, since another one is ready
                continue
            self.starting.remove(worker)
            self.ready[worker] = self.bench.worker(worker)
            self._recycle_next()
        return list(self.ready.values())

    def _recycle_next(self) -> None:
        if self.to_recycle:
            old = self.to_recycle.pop(0)
            if old in self.ready:
                self.retired.append(old)
                self.bench.tell(self.peer, m.Retire(id128(old), "recycle", "it is old"))
            self.keep()

    def obey(self) -> None:
        """Do what it was told."""
        for message, _ in self.bench.take(self.peer):
            match message:
                case m.Resize(workers):
                    self.resized.append(workers)
                    self.size = workers
                    self.keep()
                case m.Dismiss():
                    self.dismissed.append(message)
                    self.end(message.worker, message.cause)
                case m.Recycle(workers):
                    self.to_recycle += [one for one in self.ready if id128(one) in workers]
                    self.keep()
                case m.Fence():
                    self.fenced.append(message)
                case _:
                    pass

    def end(self, worker_id: bytes, cause: str) -> None:
        for worker in [one for one in self.ready if id128(one) == worker_id]:
            self.bury(worker, cause)
            self.keep()

    def bury(self, worker: int, cause: str) -> None:
        self.ready.pop(worker, None)
        self.bench.tell(self.peer, m.Died(id128(worker), m.Certificate(cause), []))

    def beat(self) -> None:
        """Everybody is there."""
        self.bench.tell(self.peer, m.Vouch([]))
        for peer in self.ready.values():
            self.bench.tell(peer, m.Heartbeat())

    def live(self, seconds: float, step_s: float = 0.05) -> None:
        """Let time pass; it obeys, and whoever starts is ready with the next step."""
        end = self.bench.now + seconds
        while self.bench.now < end - 1e-9:
            self.get_ready()
            self.bench.advance(min(step_s, end - self.bench.now))
            self.beat()
            self.obey()
