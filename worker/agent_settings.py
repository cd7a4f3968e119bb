"""What an agent is told: one line of JSON on its standard input, which then stays open as its life-line."""

from __future__ import annotations

from msgspec import Struct

from maitred.protocol import limits
from maitred.worker.options import DEFAULT_PREFETCH

__all__ = ["AgentSettings"]


class AgentSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """One pool's workers on this host.

    Attributes:
        pool, adapter, path, endpoint, clients_endpoint: as `WorkerOptions`.
        size: how many workers there are to be.
        slots, prefetch, gc_threshold, out_of_band_bytes: as `WorkerOptions`.
        start_method: "forkserver", or "spawn" for adapters that cannot be forked.
        threads_per_worker: cap on the threads of numerical libraries; 0 leaves the environment alone.
        startup_timeout_s: a worker that has not loaded by then is killed.
        restart_backoff_s: pause before the second restart of a worker that keeps dying; it doubles from there.
        restart_backoff_max_s: the longest pause.
        drain_timeout_s: time for what runs to finish after SIGTERM.
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
    parent: int | None = None
