"""What an agent is told: one line of JSON on its standard input, which then stays open as its life-line."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from maitred.protocol import limits
from maitred.worker.options import DEFAULT_PREFETCH

__all__ = ["AgentSettings"]


class AgentSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """One pool's workers on this host.

    Attributes:
        pool, adapter, path, endpoint, clients_endpoint: as `WorkerOptions`.
        size: how many workers there are to be at first.
        least, most: what the broker may ask for; `most` 0: nothing else than `size`, but for a person who says so.
        slots, prefetch, gc_threshold, out_of_band_bytes: as `WorkerOptions`.
        start_method: "forkserver", or "spawn" for adapters that cannot be forked.
        threads_per_worker: cap on the threads of numerical libraries; 0 leaves the environment alone.
        startup_timeout_s: a worker that has not loaded by then is killed.
        restart_backoff_s: pause before the second restart of a worker that keeps dying; it doubles from there.
        restart_backoff_max_s: the longest pause.
        restart_budget: deaths within `restart_window_s` after which the pool is degraded.
        restart_window_s: how far back they count.
        drain_timeout_s: time for what runs to finish after SIGTERM, and for sessions to end.
        broker_first: the broker has ended when SIGTERM comes: no session goes on.
        warm_up: as `WorkerOptions`.
        warm_spares: workers besides that have loaded and wait.
        memory_limit_bytes: of one worker, its children included; None: there is none.
        recycle_requests, recycle_age_s, recycle_growth_bytes, recycle_gpu_memory_bytes: what a worker is replaced at.
        gpu: "off", "auto" or "required".
        gpu_memory_bytes: free memory that a worker's GPU must have; None: it does not matter.
        key_file, secret: as `WorkerOptions`.
        reload: whether a change of the adapter's files replaces all workers.
        parent: process id of who started the agent, with whom it dies; None: it lives on its own.
    """

    pool: str
    adapter: str
    endpoint: str
    size: int
    path: tuple[str, ...] = ()
    clients_endpoint: str | None = None
    slots: int = 1
    prefetch: int = DEFAULT_PREFETCH
    gc_threshold: int | None = None
    out_of_band_bytes: int = limits.OUT_OF_BAND_BYTES
    start_method: str = "forkserver"
    threads_per_worker: int = 1
    startup_timeout_s: float = 60.0
    restart_backoff_s: float = 0.1
    restart_backoff_max_s: float = 30.0
    drain_timeout_s: float = 30.0
    broker_first: bool = False
    least: int = 0
    most: int = 0
    restart_budget: int = 30
    restart_window_s: float = 60.0
    warm_up: tuple[tuple[str, dict[str, Any]], ...] = ()
    warm_spares: int = 0
    memory_limit_bytes: int | None = None
    recycle_requests: int | None = None
    recycle_age_s: float | None = None
    recycle_growth_bytes: int | None = None
    recycle_gpu_memory_bytes: int | None = None
    gpu: str = "off"
    gpu_memory_bytes: int | None = None
    key_file: str | None = None
    secret: str = ""
    reload: bool = False
    parent: int | None = None

    def __repr__(self) -> str:
        return f"AgentSettings(pool={self.pool!r}, adapter={self.adapter!r}, endpoint={self.endpoint!r}, …)"
