"""Celery with Redis as its broker and for its results, both of its own: nothing of a Redis that runs here is touched."""

from __future__ import annotations

import collections
import contextlib
import functools
import subprocess
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from maitred.benchmarks.method.drivers import drive_calls, drive_futures
from maitred.benchmarks.method.load import Flow, Load
from maitred.benchmarks.method.pace import Pace
from maitred.benchmarks.method.recorder import now_ns
from maitred.benchmarks.subjects.celery_worker import TASK, Prefork, application
from maitred.benchmarks.subjects.hosted import Hosted
from maitred.benchmarks.subjects.protocol import Payload, Setup
from maitred.benchmarks.subjects.servers import LOOPBACK, Server, binary, free_port, house

__all__ = ["celery", "start"]

WORKER = "maitred.benchmarks.subjects.celery_worker"

DEFAULT_TIMEOUT_S = 60.0

MAX_THREADS = 64
"""Of an open loop. Each has connections of its own; what is due beyond them waits for one, and its latency shows it."""

VERSION_TIMEOUT_S = 5.0


@contextlib.contextmanager
def start(setup: Setup, directory: str) -> Generator[RunningCelery]:
    """See `hosted_process.Start`."""
    with house() as here:
        port = free_port()
        here.start_server("redis", _redis(port))
        url = f"redis://{LOOPBACK}:{port}/0"
        log = str(Path(directory) / "worker.log")
        here.start_worker("celery", WORKER, "main", Prefork(url, setup.workers, log))
        yield RunningCelery(application(url).tasks[TASK], here.pids)


def _redis(port: int) -> Server:
    command = [binary("redis-server") or "redis-server", "--bind", LOOPBACK, "--port", str(port)]
    return Server(command=[*command, "--save", "", "--appendonly", "no"], port=port)


class RunningCelery:
    """See `Running`."""

    def __init__(self, task: Any, pids: Mapping[str, int]) -> None:
        self._task, self._pids = task, pids

    def caller(self) -> CeleryCaller:
        """See `Running`."""
        return CeleryCaller(self._task)

    @property
    def processes(self) -> Mapping[str, int]:
        """See `Running`. The worker's own process is the parent of those that do the task."""
        children = psutil.Process(self._pids["celery"]).children()
        workers = {f"worker {number}": child.pid for number, child in enumerate(children, 1)}
        return {"broker": self._pids["redis"], "agent": self._pids["celery"], **workers}


class CeleryCaller:
    """See `Caller`. Closed loop: `delay` and `get`; pipelined: a window; open: threads, each with a connection."""

    def __init__(self, task: Any) -> None:
        self._task = task
        self._threads = ThreadPoolExecutor(MAX_THREADS)

    def call(self, payload: Payload, task_s: float = 0.0) -> Payload:
        """See `Caller`."""
        return self._ask(payload, task_s, DEFAULT_TIMEOUT_S)

    def drive(self, load: Load) -> Flow:
        """See `Caller`."""
        ask = functools.partial(self._ask, load.payload, load.task_s, load.timeout_s)
        if load.rate_per_s:
            return drive_futures(lambda: self._threads.submit(ask), load)
        if load.outstanding == 1:
            return drive_calls(ask, load)
        return _drive_window(lambda: self._task.delay(load.payload, load.task_s), load)

    def close(self) -> None:
        """See `Caller`."""
        self._threads.shutdown()

    def _ask(self, payload: Payload, task_s: float, timeout_s: float) -> Payload:
        return self._task.delay(payload, task_s).get(timeout_s)


def _drive_window(delay: Callable[[], Any], load: Load) -> Flow:
    """So many under way, from one thread: the oldest result is waited for, and the others are received meanwhile.

    Half as many answers again as with a thread for each. A latency is until the result was taken, not until it came.
    """
    pace = Pace(load)
    window: collections.deque[tuple[int, Any]] = collections.deque()
    while (due := pace.next_due_ns()) is not None:
        began = pace.take(due)
        try:
            window.append((began, delay()))
        except Exception as error:
            pace.flow.fail(error, now_ns() - began)
        if len(window) == load.outstanding:
            _take(*window.popleft(), pace.flow, load.timeout_s)
    while window:
        _take(*window.popleft(), pace.flow, load.timeout_s)
    return pace.end()


def _take(began: int, result: Any, flow: Flow, timeout_s: float) -> None:
    try:
        result.get(timeout_s)
    except Exception as error:
        flow.fail(error, now_ns() - began)
    else:
        flow.latency.append(now_ns() - began)


@dataclass(frozen=True)
class Celery(Hosted):
    """See `Subject`."""

    def versions(self) -> dict[str, str]:
        """See `Subject`."""
        found = super().versions()
        server = binary("redis-server")
        if server is not None:
            command = [server, "--version"]
            said = subprocess.run(
                command, capture_output=True, text=True, timeout=VERSION_TIMEOUT_S, check=False
            ).stdout
            found["redis-server"] = dict(word.split("=", 1) for word in said.split() if "=" in word).get("v", "?")
        return found


celery = Celery(
    name="celery",
    description=(
        "Celery with Redis as broker and for results, prefork pool, msgpack, 64 prefetched for each process; "
        "no events, gossip, mingle or heartbeat"
    ),
    start_it=f"{__name__}:start",
    modules={"celery": "celery", "redis": "redis"},
    binaries={"redis-server": "redis-server"},
    carries_arrays=False,
)
