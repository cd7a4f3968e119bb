"""NATS request and reply: nats-server between nats-py and workers in a queue group."""

from __future__ import annotations

import contextlib
import functools
import importlib
import subprocess
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal

from maitred.benchmarks.method.drivers import drive_async
from maitred.benchmarks.method.environment import versions_of
from maitred.benchmarks.method.load import Flow, Load
from maitred.benchmarks.subjects.nats_worker import SUBJECT, TASK_HEADER, NatsWorker
from maitred.benchmarks.subjects.protocol import Payload, Setup, Transport
from maitred.benchmarks.subjects.servers import LOOPBACK, House, Server, binary, free_port, house, missing

__all__ = ["Nats", "nats"]

BINARY = "nats-server"

MAX_PAYLOAD_BYTES = 64 * 1024 * 1024
"""The most that nats-server can be set to; without it, 1 MiB."""

MAX_PENDING_BYTES = 4 * MAX_PAYLOAD_BYTES
"""What may wait for one connection; with the server's own 64 MiB it closes one that is sent a payload of that size."""

TIMEOUT_S = 60.0
"""Of a single call."""

VERSION_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Nats:
    """See `Subject`."""

    name: str = "nats"
    description: str = (
        "nats-server (Go) between nats-py under asyncio and workers in a queue group, to whom it sends ahead; "
        "max_payload 64 MiB, max_pending 256 MiB, all else as it comes"
    )
    transports: tuple[Transport, ...] = ("tcp",)
    carries_arrays: bool = False

    def skip_reason(self) -> str | None:
        """See `Subject`."""
        return missing({"nats": "nats-py"}, {BINARY: "nats-server"})

    def versions(self) -> dict[str, str]:
        """See `Subject`."""
        said = subprocess.run(
            [binary(BINARY) or BINARY, "--version"],
            capture_output=True,
            text=True,
            timeout=VERSION_TIMEOUT_S,
            check=True,
        )
        return {**versions_of("nats-py"), BINARY: said.stdout.rpartition(":")[2].strip().removeprefix("v")}

    @contextlib.contextmanager
    def start(self, setup: Setup) -> Generator[RunningNats]:
        """See `Subject`."""
        with house() as processes:
            server = _server(processes)
            processes.start_server("broker", server)
            url = f"nats://{LOOPBACK}:{server.port}"
            for number in range(setup.workers):
                processes.start_worker(f"worker {number + 1}", NatsWorker.__module__, "worker", NatsWorker(url))
            yield RunningNats(processes, url)


def _server(processes: House) -> Server:
    port, path = free_port(), processes.directory / "nats.conf"
    limits = f"max_payload: {MAX_PAYLOAD_BYTES}\nmax_pending: {MAX_PENDING_BYTES}\n"
    path.write_text(f"listen: {LOOPBACK}:{port}\n{limits}")
    return Server(command=[binary(BINARY) or BINARY, "-c", str(path)], port=port)


class RunningNats:
    """See `Running`."""

    def __init__(self, processes: House, url: str) -> None:
        self._house, self._url = processes, url

    def caller(self) -> NatsCaller:
        """See `Running`."""
        return NatsCaller(self._url)

    @property
    def processes(self) -> Mapping[str, int]:
        """See `Running`."""
        return self._house.pids


class NatsCaller:
    """See `Caller`. The event loop runs in a thread of its own, and the whole load within it."""

    def __init__(self, url: str) -> None:
        self._exits = contextlib.ExitStack()
        self._portal: BlockingPortal = self._exits.enter_context(start_blocking_portal("asyncio"))
        library: Any = importlib.import_module("nats")
        self._connection: Any = self._portal.call(library.connect, url)
        self._exits.callback(self._portal.call, self._connection.close)

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
        headers = {TASK_HEADER: repr(task_s)} if task_s else None
        answer = await self._connection.request(SUBJECT, payload, timeout=timeout_s, headers=headers)
        return answer.data


nats = Nats()
