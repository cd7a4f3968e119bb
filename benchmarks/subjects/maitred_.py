"""Maitred itself, as an application uses it: a broker process, an agent with its workers, and the client library."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import tempfile
from collections.abc import Awaitable, Callable, Generator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import zmq
from anyio.from_thread import BlockingPortal, start_blocking_portal

from maitred.benchmarks.method.drivers import drive_async, drive_calls, drive_futures
from maitred.benchmarks.method.environment import versions_of
from maitred.benchmarks.method.load import Flow, Load
from maitred.benchmarks.method.streams import StreamFlow, StreamLoad, drive_async_streams, drive_streams
from maitred.benchmarks.subjects.protocol import Caller, Payload, Setup, Subject, Transport
from maitred.benchmarks.subjects.wire import WireCaller
from maitred.client import AsyncClient, Client
from maitred.config.authorized import Authorized, add_authorized
from maitred.config.key_file import KeyFile, write_key
from maitred.testing import House, Pool, running

__all__ = ["Execute", "Maitred", "asynchronous", "asyncio", "quiet", "synchronous"]

POOL = "general"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
"""Where its calls stand, as any application's that records its traces."""

ADAPTER = "maitred.benchmarks.subjects.echo:service"

ClientKind = Literal["sync", "trio", "asyncio", "wire"]
"""The last one is no client of maitred's, see `wire.py`."""

Execute: TypeAlias = Callable[[], Awaitable[object]]
"""One request of a load."""


@dataclass(frozen=True)
class Maitred:
    """See `Subject`.

    Attributes:
        client: which client, and under which event loop.
        broker: more of the broker's settings, by name.
        pool: more of the agent's settings, by name.
        max_queue: the pool's.
        always: connected so whatever the run's transport is.
        keyed: whether broker and client have keys (CURVE), which count on TCP.
        traced: whether each call stands in a trace, whose caller records it.
    """

    name: str
    client: ClientKind
    broker: dict[str, Any] = field(default_factory=dict[str, Any])
    pool: dict[str, Any] = field(default_factory=dict[str, Any])
    max_queue: int = 1000
    always: Transport | None = None
    keyed: bool = False
    traced: bool = False
    transports: tuple[Transport, ...] = ("tcp", "ipc")
    carries_arrays: bool = True
    has_streams: bool = True

    @property
    def description(self) -> str:
        """See `Subject`."""
        kind = {
            "sync": "Client", "trio": "AsyncClient under trio", "asyncio": "AsyncClient under asyncio",
            "wire": "a bare socket that speaks the protocol",
        }[self.client]  # fmt: skip
        way = f", which is connected by {self.always} whatever the run's transport is" if self.always else ""
        keys = ", with keys," if self.keyed else ""
        trace = " (each call in a trace)" if self.traced else ""
        return f"broker between {kind}{trace}{way}{keys} and workers, which are connected by ipc as always on one host"

    def skip_reason(self) -> str | None:
        """It is always there."""
        return None

    def versions(self) -> dict[str, str]:
        """See `Subject`."""
        return versions_of("maitred", "pyzmq")

    @contextlib.contextmanager
    def start(self, setup: Setup) -> Generator[RunningMaitred]:
        """See `Subject`."""
        pool = Pool(ADAPTER, size=setup.workers, settings=self.pool, timeout_s=600.0, max_queue=self.max_queue)
        with tempfile.TemporaryDirectory() as directory:
            keys = _make_keys(Path(directory)) if self.keyed else None
            more = {} if keys is None else {"key_file": str(keys.broker)}
            with running(pool, broker=self.broker | more) as house:
                key = None if keys is None else keys.client
                yield RunningMaitred(house, self.client, self.always or setup.transport, key, traced=self.traced)


class RunningMaitred:
    """See `Running`. `house` has the processes and a client of its own, for scenarios about maitred alone."""

    def __init__(
        self,
        house: House,
        client: ClientKind,
        transport: Transport,
        key: Path | None = None,
        *,
        traced: bool = False,
    ) -> None:
        self.house = house
        self._key = key
        self._trace = TRACE if traced else None
        self.endpoint = house.clients if transport == "ipc" else house.clients_tcp
        self._client: ClientKind = client

    def caller(self) -> Caller:
        """See `Running`."""
        if self._client == "wire":
            return WireCaller(self.endpoint, POOL)
        return (
            SyncCaller(self.endpoint, self._key, self._trace)
            if self._client == "sync"
            else AsyncCaller(self.endpoint, self._client)
        )

    @property
    def processes(self) -> Mapping[str, int]:
        """See `Running`."""
        agents = {f"agent of {name}": agent.pid for name, agent in self.house.agents.items()}
        workers = {f"worker {number}": row["pid"] for number, row in enumerate(self.house.client.workers(), 1)}
        return {"broker": self.house.broker.pid, **agents, **workers}


class SyncCaller:
    """See `Caller`. One outstanding is `execute`; more are `submit`."""

    def __init__(self, endpoint: str, key: Path | None = None, trace: str | None = None) -> None:
        self.client = Client(endpoint, key=key)
        self._trace = trace

    def call(self, payload: Payload, task_s: float = 0.0) -> Payload:
        """See `Caller`."""
        return self.client.execute(POOL, "echo", _arguments(payload, task_s))

    def drive(self, load: Load) -> Flow:
        """See `Caller`."""
        arguments = _arguments(load.payload, load.task_s)
        if load.outstanding == 1 and not load.rate_per_s:
            return drive_calls(_call(self.client, arguments, load.timeout_s, self._trace), load)
        return drive_futures(functools.partial(self._submit, arguments, load.timeout_s), load)

    def submit(self, load: Load, *, idempotent: bool | None = None) -> Future[Any]:
        """One request of a load, for scenarios that watch each; `idempotent` as the client's."""
        arguments = _arguments(load.payload, load.task_s)
        return self.client.submit(POOL, "echo", arguments, timeout=load.timeout_s, idempotent=idempotent)

    def _submit(self, arguments: dict[str, Any], timeout_s: float) -> Future[Any]:
        return self.client.submit(POOL, "echo", arguments, timeout=timeout_s, traceparent=self._trace)

    def drive_streams(self, load: StreamLoad) -> StreamFlow:
        """See `Streaming`."""
        arguments = {"parts": load.parts, "part_bytes": load.part_bytes}
        return drive_streams(lambda: self.client.stream(POOL, "stream", arguments, timeout=load.timeout_s), load)

    def close(self) -> None:
        """See `Caller`."""
        self.client.close()


class AsyncCaller:
    """See `Caller`. The event loop runs in a thread of its own, and the whole load within it."""

    def __init__(self, endpoint: str, backend: Literal["trio", "asyncio"]) -> None:
        self._exits = contextlib.ExitStack()
        self._portal: BlockingPortal = self._exits.enter_context(start_blocking_portal(backend))
        self.client = AsyncClient(endpoint)
        self._exits.enter_context(self._portal.wrap_async_context_manager(self.client))

    def call(self, payload: Payload, task_s: float = 0.0) -> Payload:
        """See `Caller`."""
        return self._portal.call(self.client.execute, POOL, "echo", _arguments(payload, task_s))

    def drive(self, load: Load) -> Flow:
        """See `Caller`."""
        return self.drive_around(load, lambda execute: execute)

    def drive_around(self, load: Load, around: Callable[[Execute], Execute]) -> Flow:
        """The same with something around each request, which has a task of its own in an open loop."""
        arguments = _arguments(load.payload, load.task_s)
        execute = functools.partial(self.client.execute, POOL, "echo", arguments, timeout=load.timeout_s)
        return self._portal.call(drive_async, around(execute), load)

    def drive_streams(self, load: StreamLoad) -> StreamFlow:
        """See `Streaming`."""
        arguments = {"parts": load.parts, "part_bytes": load.part_bytes}
        stream = functools.partial(self.client.stream, POOL, "stream", arguments, timeout=load.timeout_s)
        return self._portal.call(drive_async_streams, stream, load)

    def close(self) -> None:
        """See `Caller`."""
        self._exits.close()


class _Keys(NamedTuple):
    broker: Path
    client: Path


def _make_keys(directory: Path) -> _Keys:
    """Keys for a broker and for a client that may call anything, and the file that says so beside them."""
    keys = _Keys(directory / "broker.key", directory / "bench.key")
    broker, client = (KeyFile(*(half.decode() for half in zmq.curve_keypair())) for _ in keys)
    write_key(keys.broker, broker, "the broker's")
    write_key(keys.client, KeyFile(client.public, client.secret, broker.public), "the caller's")
    add_authorized(directory / "authorized.toml", Authorized("bench", client.public, "client", ("*",)))
    return keys


def quiet(subject: Subject) -> Subject:
    """The same subject, whose broker does not log the refusals and deaths that a scenario makes on purpose."""
    if not isinstance(subject, Maitred):
        return subject
    return dataclasses.replace(subject, broker={"log_level": "error", **subject.broker})


def _call(client: Client, arguments: dict[str, Any], timeout_s: float, trace: str | None) -> Callable[[], object]:
    return lambda: client.execute(POOL, "echo", arguments, timeout=timeout_s, traceparent=trace)


def _arguments(payload: Payload, task_s: float) -> dict[str, Any]:
    return {"payload": payload, "task_s": task_s} if task_s else {"payload": payload}


synchronous = Maitred("maitred", "sync")
keyed = Maitred("maitred-keys", "sync", always="tcp", keyed=True)
traced = Maitred("maitred-traced", "sync", traced=True)
local = Maitred("maitred-ipc", "sync", always="ipc")
asynchronous = Maitred("maitred-async", "trio")
asyncio = Maitred("maitred-asyncio", "asyncio")
wire = Maitred("maitred-wire", "wire", carries_arrays=False, has_streams=False)
