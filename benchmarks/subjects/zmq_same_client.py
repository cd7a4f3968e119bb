"""Libzmq's C proxy under maitred's own client: what the broker and the worker loop add, the client's cost taken out.

The workers speak the little of the protocol that the client needs to believe in a broker (WELCOME, REPLY, HEARTBEAT), and
give the payload back. The proxy deals each message to the next worker: any of them can answer any, as none keeps state.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from dataclasses import dataclass

from maitred.benchmarks.method.environment import versions_of
from maitred.benchmarks.subjects.maitred_ import AsyncCaller, SyncCaller
from maitred.benchmarks.subjects.protocol import Caller, Setup, Transport
from maitred.benchmarks.subjects.zmq_plain import ZmqHouse, libzmq_versions, started
from maitred.benchmarks.subjects.zmq_process import Proxy, Worker

__all__ = ["ProxyUnderClient", "asynchronous", "synchronous"]


@dataclass(frozen=True)
class ProxyUnderClient:
    """See `Subject`.

    Attributes:
        is_async: which of maitred's clients.
    """

    name: str
    is_async: bool
    transports: tuple[Transport, ...] = ("tcp", "ipc")
    carries_arrays: bool = True
    has_streams: bool = False

    @property
    def description(self) -> str:
        """See `Subject`."""
        client = "AsyncClient under trio" if self.is_async else "Client"
        return f"libzmq's zmq_proxy between maitred's {client} and workers that give the payload back"

    def skip_reason(self) -> str | None:
        """It is always there."""
        return None

    def versions(self) -> dict[str, str]:
        """See `Subject`."""
        return {**versions_of("maitred"), **libzmq_versions()}

    @contextlib.contextmanager
    def start(self, setup: Setup) -> Generator[RunningUnderClient]:
        """See `Subject`."""
        with started() as house:
            bound = house.start("proxy", "proxy", Proxy(house.endpoint(setup, "front"), house.endpoint(setup, "back")))
            for number in range(setup.workers):
                house.start(f"worker {number + 1}", "client_worker", Worker(bound.back))
            yield RunningUnderClient(house, bound.front, self.is_async)


class RunningUnderClient:
    """See `Running`."""

    def __init__(self, house: ZmqHouse, endpoint: str, is_async: bool) -> None:
        self._house, self._endpoint, self._is_async = house, endpoint, is_async

    def caller(self) -> Caller:
        """See `Running`."""
        return AsyncCaller(self._endpoint, "trio") if self._is_async else SyncCaller(self._endpoint)

    @property
    def processes(self) -> Mapping[str, int]:
        """See `Running`."""
        return {role: process.pid for role, process in self._house.processes.items()}


synchronous = ProxyUnderClient("zmq-proxy-sync", is_async=False)
asynchronous = ProxyUnderClient("zmq-proxy-async", is_async=True)
