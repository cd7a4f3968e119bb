"""The ZeroMQ guide's Majordomo pattern in Python: what a team would have that builds its own broker along the guide."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Generator, Mapping
from dataclasses import dataclass

import zmq

from maitred.benchmarks.method.drivers import drive_calls
from maitred.benchmarks.method.environment import versions_of
from maitred.benchmarks.method.load import Flow, Load
from maitred.benchmarks.method.numbered import drive_numbered
from maitred.benchmarks.subjects.majordomo_process import CLIENT, SERVICE, Endpoint
from maitred.benchmarks.subjects.protocol import Payload, Setup, Transport
from maitred.benchmarks.subjects.servers import LOOPBACK, House, house
from maitred.benchmarks.subjects.zmq_header import header, request_of

__all__ = ["Majordomo", "majordomo"]

MODULE = "maitred.benchmarks.subjects.majordomo_process"

TIMEOUT_S = 60.0
"""Of a single call."""


@dataclass(frozen=True)
class Majordomo:
    """See `Subject`."""

    name: str = "majordomo"
    description: str = (
        "the ZeroMQ guide's Majordomo pattern, a minimal one of our own in Python: one ROUTER, send_multipart and "
        "recv_multipart, one request per worker at a time, heartbeats"
    )
    transports: tuple[Transport, ...] = ("tcp",)
    carries_arrays: bool = False

    def skip_reason(self) -> str | None:
        """It is always there."""
        return None

    def versions(self) -> dict[str, str]:
        """See `Subject`."""
        return {**versions_of("pyzmq"), "libzmq": zmq.zmq_version()}

    @contextlib.contextmanager
    def start(self, setup: Setup) -> Generator[RunningMajordomo]:
        """See `Subject`."""
        with house() as processes:
            bound = processes.start_worker("broker", MODULE, "broker", Endpoint(f"tcp://{LOOPBACK}:*"))
            for number in range(setup.workers):
                processes.start_worker(f"worker {number + 1}", MODULE, "worker", bound)
            yield RunningMajordomo(processes, bound.endpoint)


class RunningMajordomo:
    """See `Running`."""

    def __init__(self, processes: House, endpoint: str) -> None:
        self._house, self._endpoint = processes, endpoint

    def caller(self) -> MajordomoCaller:
        """See `Running`."""
        return MajordomoCaller(self._endpoint)

    @property
    def processes(self) -> Mapping[str, int]:
        """See `Running`."""
        return self._house.pids


class MajordomoCaller:
    """See `Caller`."""

    def __init__(self, endpoint: str) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.connect(endpoint)
        self._numbers = itertools.count(1)

    def call(self, payload: Payload, task_s: float = 0.0) -> Payload:
        """See `Caller`."""
        return self._call(payload, task_s, TIMEOUT_S)

    def drive(self, load: Load) -> Flow:
        """See `Caller`."""
        if load.outstanding == 1 and not load.rate_per_s:
            return drive_calls(lambda: self._call(load.payload, load.task_s, load.timeout_s), load)
        return drive_numbered(self, load)

    def send(self, payload: Payload, task_s: float) -> int:
        """See `Numbered`."""
        number = next(self._numbers)
        self._socket.send_multipart([b"", CLIENT, SERVICE, header(number, task_s), payload])
        return number

    def receive(self, wait_s: float) -> Generator[int]:
        """See `Numbered`."""
        if self._socket.poll(int(wait_s * 1000)):
            with contextlib.suppress(zmq.Again):
                while True:
                    yield request_of(self._socket.recv_multipart(zmq.NOBLOCK)[3])

    def close(self) -> None:
        """See `Caller`."""
        self._context.destroy(0)

    def _call(self, payload: Payload, task_s: float, timeout_s: float) -> Payload:
        number = self.send(payload, task_s)
        while self._socket.poll(int(timeout_s * 1000)):
            _, _, _, head, answer = self._socket.recv_multipart()
            if request_of(head) == number:  # else it answers a call that was given up
                return answer
        raise TimeoutError(f"no answer within {timeout_s:g} s")


majordomo = Majordomo()
