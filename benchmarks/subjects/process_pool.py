"""The standard library's `ProcessPoolExecutor`: workers on the same machine, by pipes; neither a network nor a broker."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
from collections.abc import Generator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

from maitred.benchmarks.method.drivers import drive_calls, drive_futures
from maitred.benchmarks.method.load import Flow, Load
from maitred.benchmarks.subjects import task
from maitred.benchmarks.subjects.hosted import Hosted
from maitred.benchmarks.subjects.protocol import Payload, Setup

__all__ = ["process_pool", "start"]

START_METHOD = "forkserver"
"""A fork of the caller would take its threads' locks along, and is not the default any more from Python 3.14 on."""

LONG_ENOUGH_S = 0.05
"""A task that lasts this long is not over before the next worker has been asked for."""

DEFAULT_TIMEOUT_S = 60.0


@contextlib.contextmanager
def start(setup: Setup, directory: str) -> Generator[RunningPool]:
    """See `hosted_process.Start`."""
    del directory
    context = multiprocessing.get_context(START_METHOD)
    with ProcessPoolExecutor(setup.workers, mp_context=context) as pool:
        yield RunningPool(pool, _started(pool, setup.workers))


def _started(pool: ProcessPoolExecutor, workers: int) -> list[int]:
    """The workers start with the tasks that need them: give tasks until all are there; returns their process ids."""
    found: set[int] = set()
    while len(found) < workers:
        found.update(pool.map(task.worker_pid, [LONG_ENOUGH_S] * workers))
    return sorted(found)


class RunningPool:
    """See `Running`."""

    def __init__(self, pool: ProcessPoolExecutor, pids: list[int]) -> None:
        self._pool, self._pids = pool, pids

    def caller(self) -> PoolCaller:
        """See `Running`."""
        return PoolCaller(self._pool)

    @property
    def processes(self) -> Mapping[str, int]:
        """See `Running`."""
        return {f"worker {number}": pid for number, pid in enumerate(self._pids, 1)}


class PoolCaller:
    """See `Caller`. Closed loop: `submit` and `result`; else the futures' callbacks."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def call(self, payload: Payload, task_s: float = 0.0) -> Payload:
        """See `Caller`."""
        return self._submit(payload, task_s).result(DEFAULT_TIMEOUT_S)

    def drive(self, load: Load) -> Flow:
        """See `Caller`."""
        submit = functools.partial(self._submit, load.payload, load.task_s)
        if load.outstanding == 1 and not load.rate_per_s:
            return drive_calls(lambda: submit().result(load.timeout_s), load)
        return drive_futures(submit, load)

    def close(self) -> None:
        """See `Caller`. The pool is everybody's."""

    def _submit(self, payload: Payload, task_s: float) -> Future[Any]:
        return self._pool.submit(task.echo, payload, task_s)


process_pool = Hosted(
    name="process-pool",
    description=f"concurrent.futures.ProcessPoolExecutor ({START_METHOD}): pipes, whatever the transport; no broker",
    start_it=f"{__name__}:start",
    transports=("tcp", "ipc"),
)
