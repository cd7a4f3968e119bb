"""Dask: one actor on each worker of a local cluster, asked in turn, directly and not by way of the scheduler."""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from maitred.benchmarks.method.drivers import drive_async, drive_threads
from maitred.benchmarks.method.load import Flow, Load
from maitred.benchmarks.subjects import task
from maitred.benchmarks.subjects.hosted import Hosted
from maitred.benchmarks.subjects.protocol import Payload, Setup
from maitred.benchmarks.subjects.servers import LOOPBACK

__all__ = ["dask", "start"]

DEFAULT_TIMEOUT_S = 60.0


@contextlib.contextmanager
def start(setup: Setup, directory: str) -> Generator[RunningDask]:
    """See `hosted_process.Start`."""
    os.environ["DASK_CONFIG"] = directory  # else it would read a user's, and write a template where there is none
    library: Any = importlib.import_module("distributed")
    cluster = library.LocalCluster(
        n_workers=setup.workers,
        threads_per_worker=1,
        processes=True,
        host=LOOPBACK,
        dashboard_address=f"{LOOPBACK}:0",
        scheduler_kwargs={"dashboard": False},
        local_directory=directory,
    )
    with cluster, library.Client(cluster, direct_to_workers=True) as client:
        workers = client.run(os.getpid)
        actors = [_actor(client, address) for address in workers]
        yield RunningDask(client, actors, list(workers.values()))


def _actor(client: Any, address: str) -> Any:
    return client.submit(task.Actor, actor=True, workers=[address], pure=False).result()


class RunningDask:
    """See `Running`."""

    def __init__(self, client: Any, actors: Sequence[Any], pids: Sequence[int]) -> None:
        self._client, self._actors, self._pids = client, actors, pids

    def caller(self) -> DaskCaller:
        """See `Running`."""
        return DaskCaller(self._client, self._actors)

    @property
    def processes(self) -> Mapping[str, int]:
        """See `Running`. The scheduler is in the caller's process, as always with a local cluster."""
        return {f"worker {number}": pid for number, pid in enumerate(self._pids, 1)}


class DaskCaller:
    """See `Caller`. Closed loops wait for `result`, in threads where more is outstanding; an open one is in its loop.

    With 64 outstanding, threads had 1,770 answers a second and awaiting in its event loop 1,240, on 2 quiet cores.
    """

    def __init__(self, client: Any, actors: Sequence[Any]) -> None:
        self._client = client
        self._next_echo: Callable[[], Callable[..., Any]] = itertools.cycle([actor.echo for actor in actors]).__next__

    def call(self, payload: Payload, task_s: float = 0.0) -> Payload:
        """See `Caller`."""
        return self._ask(payload, task_s).result(DEFAULT_TIMEOUT_S)

    def drive(self, load: Load) -> Flow:
        """See `Caller`."""
        ask = functools.partial(self._ask, load.payload, load.task_s)
        if load.rate_per_s:
            return self._client.sync(drive_async, ask, load)
        return drive_threads([lambda: ask().result(load.timeout_s)] * load.outstanding, load)

    def close(self) -> None:
        """See `Caller`. The client is everybody's."""

    def _ask(self, payload: Payload, task_s: float) -> Any:
        return self._next_echo()(payload, task_s)


dask = Hosted(
    name="dask",
    description="a dask.distributed actor on each worker of a local cluster, asked in turn; direct_to_workers, no broker",
    start_it=f"{__name__}:start",
    modules={"distributed": "distributed"},
)
