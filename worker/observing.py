"""What an agent sees of its workers from outside: memory, GPUs. Its resources are those of `worker.memory`, `worker.gpus`.

What is seen goes three ways: into REPORT, into certificates, and into `worker.recycling`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Container

import trio
from msgspec import Struct

from maitred.protocol.messages import WorkerState
from maitred.worker.agent_settings import AgentSettings
from maitred.worker.gpus import environment, find
from maitred.worker.memory import Usage, Watch, keeper
from maitred.worker.recycling import Life
from maitred.worker.sizes import in_words

__all__ = ["NoRoom", "Observing", "Remains", "Seen"]


class NoRoom(Exception):
    """No GPU has what a worker needs; the text says how much that is."""


class Remains(Struct, frozen=True):
    """Of a dead one: the most memory it had, whether the kernel killed for want of it, and what it had on its GPU."""

    peak: int = 0
    oom_killed: bool = False
    gpu_bytes: int = 0


class Seen:
    """One worker, at the last look.

    Attributes:
        usage: of memory.
        rss_when_ready: of its first look after it was ready.
        gpu: UUID of the one it was given.
        gpu_bytes, gpu_use: what it has of it.
        loaded: it has all that it needs, also on its GPU.
        watch: None until there is a process.
    """

    def __init__(self, gpu: str) -> None:
        self.usage = Usage(0, 0)
        self.rss_when_ready: int | None = None
        self.gpu = gpu
        self.gpu_bytes = 0
        self.gpu_use = 0.0
        self.loaded = False
        self.watch: Watch | None = None

    def life(self, worker: bytes, served: int, age_s: float) -> Life:
        """What decides whether it is replaced."""
        usage = self.usage
        return Life(worker, served, age_s, usage.rss, self.rss_when_ready, self.gpu_bytes, usage.over_soft)


class Observing:
    """All workers of one agent.

    Args:
        settings: the agent's.

    Attributes:
        memory_mode: how limits are kept.

    Raises:
        GpuError: a GPU is required, and there is none; what NVML said.
    """

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._gpus = find(settings.gpu)
        self._keeper = keeper(settings.memory_limit_bytes, settings.pool)
        self._seen: dict[bytes, Seen] = {}
        self.memory_mode = self._keeper.mode

    @property
    def gpus(self) -> str:
        """What was found, in words; empty where nobody asked."""
        return self._gpus.words if self._settings.gpu != "off" else ""

    # --- a worker's life ---

    async def place(self, worker: bytes) -> tuple[tuple[str, str], ...]:
        """Choose its GPU; returns the variables that its environment must have.

        Raises:
            NoRoom: there is none with enough memory.
        """
        needed = self._settings.gpu_memory_bytes
        uuid: str | None = None
        if self._gpus.devices:
            loading = Counter(seen.gpu for seen in self._seen.values() if not seen.loaded)
            promised = {gpu: count * (needed or 0) for gpu, count in loading.items()}
            workers = Counter(seen.gpu for seen in self._seen.values())
            uuid = await trio.to_thread.run_sync(self._gpus.place, needed, promised, workers)
            if uuid is None and needed is not None:
                raise NoRoom(f"no GPU has {in_words(needed)} free (gpu_memory)")
        self._seen[worker] = Seen(uuid or "")
        return tuple(environment(uuid, self._settings.gpu).items())

    def adopt(self, worker: bytes, pid: int) -> None:
        """Its process was started."""
        self._seen[worker].watch = self._keeper.adopt(pid)

    def look(self, worker: bytes, *, loaded: bool, ready: bool) -> Seen:
        """Look at its memory."""
        seen = self._seen[worker]
        seen.loaded = loaded
        if seen.watch is not None:
            seen.usage = seen.watch.look()
            if ready and seen.rss_when_ready is None:
                seen.rss_when_ready = seen.usage.rss
        return seen

    async def look_at_gpus(self, pids: dict[int, bytes]) -> None:
        """Look at everybody's. `pids`: workers by their process, which is the session of whatever they started."""
        if not self._gpus.devices:
            return
        usage = await trio.to_thread.run_sync(self._gpus.usage)
        bytes_, use = Counter[bytes](), Counter[bytes]()
        for pid, (taken, share) in usage.items():
            worker = pids.get(_session(pid))
            if worker is not None:
                bytes_[worker] += taken
                use[worker] = max(use[worker], round(share * 100))
        for worker, seen in self._seen.items():
            seen.gpu_bytes, seen.gpu_use = bytes_[worker], use[worker] / 100

    def kill(self, worker: bytes) -> None:
        """Kill all processes of a worker, where a control group knows them."""
        watch = self._seen[worker].watch
        if watch is not None:
            watch.kill()

    def last_look(self, worker: bytes) -> Remains:
        """It is dead: what is left to know of it. It is forgotten."""
        seen = self._seen.pop(worker, None)
        if seen is None or seen.watch is None:
            return Remains()
        usage = seen.watch.look()
        seen.watch.close()
        return Remains(max(seen.usage.peak, usage.peak), usage.oom_killed, seen.gpu_bytes)

    def close(self) -> None:
        """Every worker is dead."""
        self._keeper.close()
        self._gpus.close()

    # --- what is told ---

    def states(self, spares: Container[bytes]) -> list[WorkerState]:
        """Of all that were looked at."""
        return [
            WorkerState(worker, seen.usage.rss, seen.gpu_bytes, seen.gpu_use, seen.gpu, worker in spares)
            for worker, seen in self._seen.items()
            if seen.usage.rss
        ]


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0
