"""Ray: one actor for each worker, asked in turn; the caller is the driver of a local cluster of one node."""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from maitred.benchmarks.method.drivers import drive_calls, drive_futures
from maitred.benchmarks.method.load import Flow, Load
from maitred.benchmarks.subjects import task
from maitred.benchmarks.subjects.hosted import Hosted
from maitred.benchmarks.subjects.protocol import Payload, Setup

__all__ = ["ray", "start"]

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
"""Nothing is reported to anybody; and no warning of a change to come in how GPUs are hidden."""

DEFAULT_TIMEOUT_S = 60.0


@contextlib.contextmanager
def start(setup: Setup, directory: str) -> Generator[RunningRay]:
    """See `hosted_process.Start`."""
    os.environ.update(QUIET)
    library: Any = importlib.import_module("ray")
    library.init(
        address="local",  # never the cluster that this user's environment may name
        num_cpus=setup.workers,
        num_gpus=0,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        _temp_dir=directory,
    )
    try:
        actors = [library.remote(num_cpus=1)(task.Actor).remote() for _ in range(setup.workers)]
        yield RunningRay(library, actors, library.get([actor.pid.remote() for actor in actors]))
    finally:
        library.shutdown()


class RunningRay:
    """See `Running`."""

    def __init__(self, library: Any, actors: Sequence[Any], pids: Sequence[int]) -> None:
        self._library, self._actors, self._pids = library, actors, pids

    def caller(self) -> RayCaller:
        """See `Running`."""
        return RayCaller(self._library, self._actors)

    @property
    def processes(self) -> Mapping[str, int]:
        """See `Running`."""
        return {f"worker {number}": pid for number, pid in enumerate(self._pids, 1)}


class RayCaller:
    """See `Caller`. Closed loop: `ray.get`; else the references' futures."""

    def __init__(self, library: Any, actors: Sequence[Any]) -> None:
        self._library = library
        self._next_echo: Callable[[], Any] = itertools.cycle([actor.echo for actor in actors]).__next__

    def call(self, payload: Payload, task_s: float = 0.0) -> Payload:
        """See `Caller`."""
        return self._library.get(self._ask(payload, task_s), timeout=DEFAULT_TIMEOUT_S)

    def drive(self, load: Load) -> Flow:
        """See `Caller`."""
        ask = functools.partial(self._ask, load.payload, load.task_s)
        if load.outstanding == 1 and not load.rate_per_s:
            return drive_calls(lambda: self._library.get(ask(), timeout=load.timeout_s), load)
        return drive_futures(lambda: ask().future(), load)

    def close(self) -> None:
        """See `Caller`. The driver's connection is everybody's."""

    def _ask(self, payload: Payload, task_s: float) -> Any:
        return self._next_echo().remote(payload, task_s)


ray = Hosted(
    name="ray",
    description="a Ray actor for each worker of a local cluster, asked in turn by its driver, by gRPC and shared memory",
    start_it=f"{__name__}:start",
    modules={"ray": "ray"},
)
