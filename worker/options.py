"""What a worker process is told when it is started: one value, small enough to be pickled to it."""

from __future__ import annotations

import os
from typing import Any

from msgspec import Struct

from maitred.protocol import limits
from maitred.worker.started_page import StartedPage

__all__ = ["DEFAULT_PREFETCH", "Inherited", "WorkerOptions"]

DEFAULT_PREFETCH = 15
"""Requests that may lie ready in a worker: enough to hide a round trip behind no-ops; the broker sends fewer where they
take longer, and none where they are long."""


class Inherited:
    """A file descriptor on its way into a process that is being started; `take` is called there, once."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __reduce__(self) -> tuple[Any, ...]:
        from multiprocessing.reduction import DupFd

        return _receive, (DupFd(self._descriptor),)

    def take(self) -> int:
        """The descriptor; owned by the caller from here on."""
        descriptor, self._descriptor = self._descriptor, -1
        os.set_inheritable(descriptor, False)
        return descriptor


def _receive(descriptor: Any) -> Inherited:
    return Inherited(descriptor.detach())


class WorkerOptions(Struct):
    """One worker process.

    Attributes:
        pool: the pool it serves.
        adapter: `module:attribute` of its `Service`.
        path: directories to import from before all others.
        endpoint: where workers register.
        clients_endpoint: where `context.call` calls; None: it cannot.
        worker: its 128-bit id; the agent chose it.
        slots: requests it runs at a time, or batches; synchronous functions in threads, where it is more than one.
        prefetch: requests it may hold besides, for the broker to send ahead (`broker.core.prefetch`).
        parent: process id of who started it, with whom it dies; None: it lives on its own.
        started: the page its agent reads after its death.
        output: what becomes its standard output and error.
        lifeline: its end means that the agent is gone.
        gc_threshold: new objects between two runs of the garbage collector; 0: never, None: Python's own figure.
        out_of_band_bytes: from this size on, buffers of its answers travel in frames of their own.
        warm_up: commands and arguments that it runs for itself before it takes requests.
        gate: a spare waits, once it has loaded, until there is something to read here; None: it goes on at once.
        key_file: of the CURVE key that it connects with to `tcp://` endpoints; None: without.
        secret: what it shows where there are no keys: that of the broker's connection file.
        environment: variables set before anything else is done, as a GPU's.
    """

    pool: str
    adapter: str
    path: tuple[str, ...]
    endpoint: str
    worker: bytes
    slots: int = 1
    prefetch: int = DEFAULT_PREFETCH
    clients_endpoint: str | None = None
    parent: int | None = None
    started: StartedPage | None = None
    output: Inherited | None = None
    lifeline: Inherited | None = None
    gc_threshold: int | None = None
    out_of_band_bytes: int = limits.OUT_OF_BAND_BYTES
    warm_up: tuple[tuple[str, dict[str, Any]], ...] = ()
    gate: Inherited | None = None
    environment: tuple[tuple[str, str], ...] = ()
    key_file: str | None = None
    secret: str = ""

    def __repr__(self) -> str:
        return f"WorkerOptions(pool={self.pool!r}, adapter={self.adapter!r}, endpoint={self.endpoint!r}, …)"
