"""ipyparallel: a local controller and engines, asked by a load-balanced view, which picks the engine as a pool does."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
from collections.abc import Generator, Mapping, Sequence
from typing import Any

from maitred.benchmarks.method.drivers import drive_calls, drive_futures
from maitred.benchmarks.method.load import Flow, Load
from maitred.benchmarks.subjects import task
from maitred.benchmarks.subjects.hosted import Hosted
from maitred.benchmarks.subjects.protocol import Payload, Setup

__all__ = ["ipyparallel", "start"]

CLUSTER_TIMEOUT_S = 60
"""Within this the controller and its engines have to be there."""

DEFAULT_TIMEOUT_S = 60.0


@contextlib.contextmanager
def start(setup: Setup, directory: str) -> Generator[RunningEngines]:
    """See `hosted_process.Start`."""
    os.environ["IPYTHONDIR"] = directory
    library: Any = importlib.import_module("ipyparallel")
    cluster = library.Cluster(n=setup.workers, ipython_dir=directory, engines="local", engine_timeout=CLUSTER_TIMEOUT_S)
    try:
        client = cluster.start_and_connect_sync(activate=False)
        pids = client[:].apply_sync(task.worker_pid)
        yield RunningEngines(cluster, pids)
        client.close()
    finally:
        cluster.stop_cluster_sync()


class RunningEngines:
    """See `Running`."""

    def __init__(self, cluster: Any, pids: Sequence[int]) -> None:
        self._cluster, self._pids = cluster, pids

    def caller(self) -> ViewCaller:
        """See `Running`."""
        return ViewCaller(self._cluster.connect_client_sync())

    @property
    def processes(self) -> Mapping[str, int]:
        """See `Running`."""
        engines = {f"worker {number}": pid for number, pid in enumerate(self._pids, 1)}
        return {"broker": self._cluster.controller.process.pid, **engines}


class ViewCaller:
    """See `Caller`. All is `apply_async`: its results are futures."""

    def __init__(self, client: Any) -> None:
        self._client = client
        client.wait_for_engines(timeout=DEFAULT_TIMEOUT_S)
        self._view = client.load_balanced_view()

    def call(self, payload: Payload, task_s: float = 0.0) -> Payload:
        """See `Caller`."""
        return self._apply(payload, task_s).get(DEFAULT_TIMEOUT_S)

    def drive(self, load: Load) -> Flow:
        """See `Caller`."""
        apply = functools.partial(self._apply, load.payload, load.task_s)
        try:
            if load.outstanding == 1 and not load.rate_per_s:
                return drive_calls(lambda: apply().get(load.timeout_s), load)
            return drive_futures(apply, load)
        finally:
            self._forget()

    def close(self) -> None:
        """See `Caller`."""
        self._client.close()

    def _apply(self, payload: Payload, task_s: float) -> Any:
        return self._view.apply_async(task.echo, payload, task_s)

    def _forget(self) -> None:
        """A client keeps every result until it is told not to; what is still outstanding it has to keep."""
        with contextlib.suppress(RuntimeError):
            self._client.purge_local_results("all")
        self._client.history.clear()
        self._view.history.clear()


ipyparallel = Hosted(
    name="ipyparallel",
    description="ipyparallel's controller between a load-balanced view and engines; its default high-water mark of 1",
    start_it=f"{__name__}:start",
    modules={"ipyparallel": "ipyparallel"},
)
