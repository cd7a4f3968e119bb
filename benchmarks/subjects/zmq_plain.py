"""Plain ZeroMQ: through libzmq's C proxy (the floor of a brokered path), and with nothing in between.

Frames are given back as they are: no message is decoded, no name is looked up, nothing is watched.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
import zmq

from maitred.benchmarks.method.environment import versions_of
from maitred.benchmarks.subjects.protocol import Setup, StartError, Transport
from maitred.benchmarks.subjects.zmq_client import ZmqCaller
from maitred.benchmarks.subjects.zmq_process import Proxy, Worker, no_limit
from maitred.launcher.processes import ChildProcess
from maitred.transport.endpoints import bind

__all__ = ["ZmqDirect", "ZmqHouse", "ZmqProxy", "direct", "libzmq_versions", "proxy", "started"]

MODULE = "maitred.benchmarks.subjects.zmq_process"

START_TIMEOUT_S = 20.0
"""Within this a process has to say that it is there."""

T = TypeVar("T", bound=msgspec.Struct)


@dataclass(frozen=True)
class ZmqProxy:
    """See `Subject`."""

    name: str = "zmq-proxy"
    description: str = (
        "libzmq's zmq_proxy (C, ROUTER and DEALER) between a DEALER and workers that give the frames back"
    )
    transports: tuple[Transport, ...] = ("tcp", "ipc")
    carries_arrays: bool = False
    has_streams: bool = True

    def skip_reason(self) -> str | None:
        """It is always there."""
        return None

    def versions(self) -> dict[str, str]:
        """See `Subject`."""
        return libzmq_versions()

    @contextlib.contextmanager
    def start(self, setup: Setup) -> Generator[RunningZmq]:
        """See `Subject`."""
        with started() as house:
            bound = house.start("proxy", "proxy", Proxy(house.endpoint(setup, "front"), house.endpoint(setup, "back")))
            for number in range(setup.workers):
                house.start(f"worker {number + 1}", "worker", Worker(bound.back))
            yield RunningZmq(house, bound.front)


@dataclass(frozen=True)
class ZmqDirect:
    """See `Subject`. One caller at a time: it is the caller that binds."""

    name: str = "zmq-direct"
    description: str = "no broker: a DEALER, to which the workers connect, and which deals requests out in turn"
    transports: tuple[Transport, ...] = ("tcp", "ipc")
    carries_arrays: bool = False
    has_streams: bool = True

    def skip_reason(self) -> str | None:
        """It is always there."""
        return None

    def versions(self) -> dict[str, str]:
        """See `Subject`."""
        return libzmq_versions()

    @contextlib.contextmanager
    def start(self, setup: Setup) -> Generator[RunningZmq]:
        """See `Subject`."""
        with started() as house:
            socket = house.socket()
            endpoint = bind(socket, house.endpoint(setup, "direct"))
            for number in range(setup.workers):
                house.start(f"worker {number + 1}", "worker", Worker(endpoint))
            socket.poll(
                int(START_TIMEOUT_S * 1000), zmq.POLLOUT
            )  # a worker that is connected may not be known here yet
            yield RunningZmq(house, None, socket)


class RunningZmq:
    """See `Running`."""

    def __init__(self, house: ZmqHouse, endpoint: str | None, bound: zmq.Socket[bytes] | None = None) -> None:
        self._house, self._endpoint, self._bound = house, endpoint, bound

    def caller(self) -> ZmqCaller:
        """See `Running`."""
        if self._endpoint is None:
            socket, self._bound = self._bound, None
            if socket is None:
                raise ValueError("without a broker there is one caller: the workers are connected to it")
            return ZmqCaller(socket)
        socket = self._house.socket()
        socket.connect(self._endpoint)
        return ZmqCaller(socket)

    @property
    def processes(self) -> Mapping[str, int]:
        """See `Running`."""
        return {role: process.pid for role, process in self._house.processes.items()}


@dataclass
class ZmqHouse:
    """The processes and the sockets of one that runs."""

    directory: str
    context: zmq.Context[zmq.Socket[bytes]] = field(default_factory=zmq.Context)
    processes: dict[str, ChildProcess] = field(default_factory=dict[str, ChildProcess])

    def endpoint(self, setup: Setup, name: str) -> str:
        """Where something of this name is to bind."""
        return f"ipc://{self.directory}/{name}" if setup.transport == "ipc" else "tcp://127.0.0.1:*"

    def socket(self) -> zmq.Socket[bytes]:
        """A DEALER without limits."""
        socket = self.context.socket(zmq.DEALER)
        no_limit(socket)
        return socket

    def start(self, role: str, function: str, settings: T) -> T:
        """Start a process, wait for its report, and return it."""
        process = self.processes[role] = ChildProcess(MODULE, function, settings, reports=True)
        line = process.read_report(START_TIMEOUT_S)
        if not line:
            raise StartError(f"the {role} did not start")
        return msgspec.json.decode(line, type=type(settings))


@contextlib.contextmanager
def started() -> Generator[ZmqHouse]:
    """A house for one subject, ended with all its processes and sockets."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        house = ZmqHouse(directory)
        try:
            yield house
        finally:
            for process in house.processes.values():
                process.kill()
                process.wait()
            house.context.destroy(0)


def libzmq_versions() -> dict[str, str]:
    """Of the binding and the library."""
    return {**versions_of("pyzmq"), "libzmq": zmq.zmq_version()}


proxy = ZmqProxy()
direct = ZmqDirect()
