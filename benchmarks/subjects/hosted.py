"""Peers that take over the process they are used in: each gets one of its own, in which its caller is too.

Threads, signal handlers, what is printed and what runs at exit are theirs there, and nobody else's time suffers. A load
is handed over whole, and carried out beside the peer's client as in an application of its users: of what is measured,
nothing passes between this process and that one (`hosted_process.py`).
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Client
from typing import Any

import psutil

from maitred.benchmarks.method.environment import versions_of
from maitred.benchmarks.method.load import Flow, Load
from maitred.benchmarks.subjects.hosted_process import HostedError, Hosting
from maitred.benchmarks.subjects.protocol import Payload, Setup, StartError, Transport
from maitred.benchmarks.subjects.servers import House, house, missing
from maitred.launcher.processes import ChildProcess

__all__ = ["Hosted", "HostedCaller", "HostedError", "RunningHosted"]

MODULE = "maitred.benchmarks.subjects.hosted_process"

START_TIMEOUT_S = 90.0
"""Within this a peer has to be ready: Ray and ipyparallel take 7 s on 2 cores that have nothing else to do."""

STOP_TIMEOUT_S = 15.0
"""Within this a peer has to end by itself; then it is killed."""

MARGIN_S = 15.0
"""What a load may last beyond the time that its requests have, before it is given up."""

KILL_TIMEOUT_S = 2.0
"""Within this the kernel has done away with what was killed."""


@dataclass(frozen=True)
class Hosted:
    """See `Subject`.

    Attributes:
        start_it: "module:function" of what starts it in its process: takes `Setup` and the path of a folder for all its
            files; a context manager whose value is a `Running`.
        modules: what has to be installed: distributions, by the module that each brings.
        binaries: Debian packages, by the program that each brings.
    """

    name: str
    description: str
    start_it: str
    modules: Mapping[str, str] = field(default_factory=dict[str, str])
    binaries: Mapping[str, str] = field(default_factory=dict[str, str])
    transports: tuple[Transport, ...] = ("tcp",)
    carries_arrays: bool = True

    def skip_reason(self) -> str | None:
        """See `Subject`."""
        return missing(self.modules, self.binaries)

    def versions(self) -> dict[str, str]:
        """See `Subject`."""
        return versions_of(*self.modules.values())

    @contextlib.contextmanager
    def start(self, setup: Setup) -> Generator[RunningHosted]:
        """See `Subject`."""
        with house() as here:
            hosting = Hosting(self.start_it, setup, str(here.directory))
            try:
                started = self._started(here, hosting)
                yield RunningHosted(started, here.processes["caller"].pid)
            finally:
                for process in here.processes.values():
                    _stop(process)

    def _started(self, here: House, hosting: Hosting) -> Hosting:
        started = here.start_worker("caller", MODULE, "main", hosting, timeout_s=START_TIMEOUT_S)
        if started.error:
            raise StartError(f"{self.name} did not start: {started.error}")
        return started


class RunningHosted:
    """See `Running`."""

    def __init__(self, hosting: Hosting, caller_pid: int) -> None:
        self._hosting = hosting
        self._caller_pid = caller_pid

    def caller(self) -> HostedCaller:
        """See `Running`."""
        return HostedCaller(self._hosting.address)

    @property
    def processes(self) -> Mapping[str, int]:
        """See `Running`."""
        return {"caller": self._caller_pid, **self._hosting.processes}


class HostedCaller:
    """See `Caller`. What the peer raises is raised as `HostedError` with its name and text."""

    def __init__(self, address: str) -> None:
        self._connection = Client(address, "AF_UNIX")

    def call(self, payload: Payload, task_s: float = 0.0) -> Payload:
        """See `Caller`. There is a pipe on the way: whoever measures takes `drive`."""
        return self._ask(None, "call", payload, task_s)

    def drive(self, load: Load) -> Flow:
        """See `Caller`. A peer that never answers, not even with an error, ends it with `HostedError`."""
        return self._ask(_limit_s(load), "drive", load)

    def close(self) -> None:
        """See `Caller`."""
        self._connection.close()

    def _ask(self, limit_s: float | None, *question: object) -> Any:
        try:
            self._connection.send(question)
            if not self._connection.poll(limit_s):
                self.close()  # what comes now is no answer to the next question
                raise HostedError(f"no end of the load after {limit_s:.0f} s; see whether the peer's workers live")
            answer = self._connection.recv()
        except (EOFError, OSError) as error:
            raise HostedError("the process of the peer's client has ended, or this caller is closed") from error
        if isinstance(answer, HostedError):
            raise answer
        return answer


def _limit_s(load: Load) -> float:
    """More than a load lasts of which no request takes longer than its time."""
    requests = load.requests or int(load.rate_per_s * (load.seconds or 0.0))
    return max(load.seconds or 0.0, requests * load.timeout_s) + load.timeout_s + MARGIN_S


def _stop(process: ChildProcess) -> None:
    """Have it end by itself, that it may put away what is outside its files; then kill what it has left behind."""
    started: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        started = psutil.Process(process.pid).children(recursive=True)
    process.force()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT_S)
    for child in started:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    psutil.wait_procs(started, timeout=KILL_TIMEOUT_S)
