"""gRPC: no broker; each worker is a server, and the caller knows them all."""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal

from maitred.benchmarks.method.drivers import drive_async
from maitred.benchmarks.method.environment import versions_of
from maitred.benchmarks.method.load import Flow, Load
from maitred.benchmarks.subjects.grpc_worker import METHOD, OPTIONS, TASK_KEY, GrpcWorker
from maitred.benchmarks.subjects.protocol import Payload, Setup, Transport
from maitred.benchmarks.subjects.servers import LOOPBACK, House, house, missing

__all__ = ["Grpc", "grpc"]

TIMEOUT_S = 60.0
"""Of a single call."""


@dataclass(frozen=True)
class Grpc:
    """See `Subject`."""

    name: str = "grpc"
    description: str = (
        "no broker: grpc.aio on both sides, a server in each worker, to which the caller deals requests out in turn; "
        "bytes without protobuf"
    )
    transports: tuple[Transport, ...] = ("tcp",)
    carries_arrays: bool = False

    def skip_reason(self) -> str | None:
        """See `Subject`."""
        return missing({"grpc": "grpcio"})

    def versions(self) -> dict[str, str]:
        """See `Subject`."""
        return versions_of("grpcio")

    @contextlib.contextmanager
    def start(self, setup: Setup) -> Generator[RunningGrpc]:
        """See `Subject`."""
        with house() as processes:
            ports = [
                processes.start_worker(f"worker {number + 1}", GrpcWorker.__module__, "worker", GrpcWorker()).port
                for number in range(setup.workers)
            ]
            yield RunningGrpc(processes, ports)


class RunningGrpc:
    """See `Running`."""

    def __init__(self, processes: House, ports: Sequence[int]) -> None:
        self._house, self._ports = processes, ports

    def caller(self) -> GrpcCaller:
        """See `Running`."""
        return GrpcCaller(self._ports)

    @property
    def processes(self) -> Mapping[str, int]:
        """See `Running`."""
        return self._house.pids


class GrpcCaller:
    """See `Caller`. The event loop runs in a thread of its own, and the whole load within it."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._exits = contextlib.ExitStack()
        self._portal: BlockingPortal = self._exits.enter_context(start_blocking_portal("asyncio"))
        methods = self._exits.enter_context(self._portal.wrap_async_context_manager(_methods(ports)))
        self._methods = itertools.cycle(methods)

    def call(self, payload: Payload, task_s: float = 0.0) -> Payload:
        """See `Caller`."""
        return self._portal.call(self._ask, payload, task_s, TIMEOUT_S)

    def drive(self, load: Load) -> Flow:
        """See `Caller`."""
        ask = functools.partial(self._ask, load.payload, load.task_s, load.timeout_s)
        return self._portal.call(drive_async, ask, load)

    def close(self) -> None:
        """See `Caller`."""
        self._exits.close()

    async def _ask(self, payload: Payload, task_s: float, timeout_s: float) -> Payload:
        about = ((TASK_KEY, repr(task_s)),) if task_s else None
        return await next(self._methods)(payload, timeout=timeout_s, metadata=about)


@contextlib.asynccontextmanager
async def _methods(ports: Sequence[int]) -> AsyncGenerator[list[Any]]:
    """The method of each server, connected."""
    aio: Any = importlib.import_module("grpc.aio")
    async with contextlib.AsyncExitStack() as stack:
        methods: list[Any] = []
        for port in ports:
            channel = await stack.enter_async_context(aio.insecure_channel(f"{LOOPBACK}:{port}", options=OPTIONS))
            await channel.channel_ready()
            methods.append(channel.unary_unary(METHOD))
        yield methods


grpc = Grpc()
