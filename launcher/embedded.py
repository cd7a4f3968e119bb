"""A broker and its pools as a part of an application: started with it, and ended with it, however it ends.

    with Broker("maitred.toml") as broker:                      # or async with, under trio and asyncio
        broker.client.execute("general", "echo", {"message": "hello"})

    with Broker({"pools": {"app": {"adapter": service, "size": 4}}}) as broker: ...

One child process of the application watches the broker and the agents, and starts again what dies. It needs no loop, no
thread and no signal of the application's.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import anyio
import anyio.to_thread
import msgspec

from maitred.broker.bound import Bound
from maitred.client import AsyncClient, Client
from maitred.config import Config, load
from maitred.config.loading import BUILT_IN
from maitred.launcher.embedded_process import Embedded, Started
from maitred.launcher.finding import locate
from maitred.launcher.house_settings import HouseSettings, of_house
from maitred.launcher.processes import BIND_TIMEOUT_S, ChildProcess, StartError
from maitred.worker import Service
from maitred.worker.loading import being_imported

if TYPE_CHECKING:
    from maitred.client import Event
    from maitred.client.async_events import AsyncEvents

__all__ = ["Broker"]

READY_TIMEOUT_S = 60.0
"""Models that load longer than this are not what an application waits for unless it says so."""

FORCED_TIMEOUT_S = 10.0
"""What ends at once kills what it holds; after so long it is killed itself."""

OWN = {"clients": "tcp://127.0.0.1:0", "workers": "tcp://127.0.0.1:0", "http": ""}
"""Of the broker's keys, where the configuration does not say: other ports than any other broker's, and no page."""

NOT_STARTED = "this broker is not running: enter it with `with` or `async with`, or call start()"

IMPORTED = (
    "a broker is started by {adapter!r} while a worker imports that: put what starts it under "
    '`if __name__ == "__main__":`'
)


class Broker:
    """A broker with its pools, of the application that makes it.

    Where the configuration does not say where the broker listens, ports are chosen by the system and the run directory
    is a new one: brokers of several applications do not meet, and `maitred status` finds one by its `endpoint` only.

    To be made under `if __name__ == "__main__":` where a service stands in the script itself: workers import it. Children
    that are forked from the application, and run on when it has ended, keep the broker running as well.

    Args:
        config: a file; or the same as nested dictionaries, in which an adapter may be a `Service` of a module's top level;
            None: `maitred.toml` in the working directory, or else the three built-in pools. The environment is obeyed too.
        overrides: "KEY=VALUE", as of `--set`.
        ready: what to wait for at the start: "all" workers that there are to be at least, or "one" of each pool.
        ready_timeout: s that this may take.
        log_level: of the broker's log, on standard error: "debug", "info", "warning" or "error".
        log_format: "text" or "json"; None: text where standard error is a terminal.

    Raises:
        ConfigError: with everything that is wrong.
        ValueError: a service is not found at the top level of a module.
    """

    def __init__(
        self,
        config: Path | str | Mapping[str, Any] | None = None,
        /,
        *,
        overrides: tuple[str, ...] | list[str] = (),
        ready: Literal["all", "one"] = "all",
        ready_timeout: float = READY_TIMEOUT_S,
        log_level: str = "warning",
        log_format: str | None = None,
    ) -> None:
        source = _with_adapters(config) if isinstance(config, Mapping) else None if config is None else Path(config)
        loaded = load(source, overrides=overrides)
        log_format = log_format or ("text" if sys.stderr.isatty() else "json")
        house = _own(of_house(loaded, log_level, log_format), loaded)
        wanted = {name: min(least, 1) if ready == "one" else least for name, least in house.wanted.items()}
        self._told = Embedded(house, wanted, ready_timeout)
        self._process: ChildProcess | None = None
        self._bound: Bound | None = None
        self._client: Client | None = None
        self._forced = False
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Broker {self._bound.clients[0]}>" if self._bound else "<Broker, not running>"

    # --- where it is ---

    @property
    def endpoint(self) -> str:
        """For clients of this host: `AsyncClient(broker.endpoint)`. Other processes need nothing else."""
        return self._where.clients[0]

    @property
    def endpoints(self) -> list[str]:
        """The same, and the one for clients of other hosts."""
        return self._where.clients

    @property
    def workers(self) -> list[str]:
        """For workers from outside: of this host, and of others."""
        return self._where.workers

    @property
    def http(self) -> str:
        """host:port of page, metrics and JSON; "" where the configuration does not ask for it."""
        return self._where.http

    @property
    def token(self) -> str:
        """Operator's token of its HTTP."""
        return self._where.secret

    @property
    def client(self) -> Client:
        """A client for threads, which the broker closes when it ends."""
        with self._lock:
            if self._client is None:
                self._client = Client(self.endpoint)
            return self._client

    def events(self, *names: str, after: int | None = None, follow: bool = True) -> Events:
        """What happens at the broker: for `for`, and for `async with`. Arguments and errors as of `Client.events`."""
        return Events(self.endpoint, names, after, follow)

    # --- its life ---

    def start(self) -> Self:
        """Start it, and wait, in this thread, until it is ready.

        Raises:
            StartError: it did not start, or a pool did not become ready in time; nothing of it runs then.
            RuntimeError: it runs already, or a worker would start one as it imports its adapter.
        """
        if adapter := being_imported():
            raise RuntimeError(IMPORTED.format(adapter=adapter))
        if self._process is not None:
            raise RuntimeError("this broker runs already")
        process = self._process = ChildProcess(
            "maitred.launcher.embedded_process", "child", self._told, reports=True, speaks=False
        )
        if self._forced:
            process.force()
        try:
            self._bound = self._started(process)
        except BaseException:
            self.close(drain=False)
            raise
        return self

    def close(self, *, drain: bool = True) -> None:
        """End it, and wait for that, in this thread. Repeatable.

        Args:
            drain: whether what runs may finish, as after SIGTERM to `maitred up`; else all of it is killed.
        """
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()
        if (process := self._process) is not None:
            try:
                if drain:
                    process.terminate()
                    process.wait()  # the house itself kills what does not end in time
            finally:
                process.force()
                try:
                    process.wait(FORCED_TIMEOUT_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                self._process, self._bound, self._forced = None, None, False

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close(drain=_is_meant(kind))

    async def __aenter__(self) -> Self:
        self._forced = False
        await self._in_thread(self.start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if _is_meant(kind):
            await self._in_thread(self.close)
        else:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(lambda: self.close(drain=False))

    async def _in_thread(self, call: Callable[[], object]) -> None:
        """Call it in a thread, and wait for its end: when this is cancelled, that comes soon, as all is ended by force."""
        returned = False
        error: BaseException | None = None

        async def force_when_cancelled() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                if not returned:
                    self._force()

        async with anyio.create_task_group() as group:
            group.start_soon(force_when_cancelled)
            with anyio.CancelScope(shield=True):
                error = await anyio.to_thread.run_sync(_error_of, call)
            returned = True
            group.cancel_scope.cancel()
        if error is not None:
            raise error

    def _force(self) -> None:
        self._forced = True  # `start` may not have come so far that there is a process
        if (process := self._process) is not None:
            process.force()

    def _started(self, process: ChildProcess) -> Bound:
        line = process.read_report(BIND_TIMEOUT_S + self._told.ready_timeout_s)
        if not line:
            raise StartError("the broker did not start; standard error says why")
        it = msgspec.json.decode(line, type=Started)
        if it.failure:
            raise StartError(it.failure)
        return it.bound

    @property
    def _where(self) -> Bound:
        if self._bound is None:
            raise RuntimeError(NOT_STARTED)
        return self._bound


class Events:
    """What happens at a broker, each as an `Event`, over a connection of its own.

    `for event in events`, or `async with events as each: async for event in each`.
    """

    def __init__(self, endpoint: str, names: tuple[str, ...], after: int | None, follow: bool) -> None:
        self._endpoint = endpoint
        self._names = names
        self._after = after
        self._follow = follow
        self._exits = contextlib.AsyncExitStack()

    def __iter__(self) -> Generator[Event]:
        with Client(self._endpoint) as client:
            yield from client.events(*self._names, after=self._after, follow=self._follow)

    async def __aenter__(self) -> AsyncEvents:
        client = await self._exits.enter_async_context(AsyncClient(self._endpoint))
        events = client.events(*self._names, after=self._after, follow=self._follow)
        return await self._exits.enter_async_context(events)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._exits.__aexit__(kind, error, trace)


def _is_meant(kind: type[BaseException] | None) -> bool:
    """Whether a block that ends so does as it is meant to; `sys.exit` is nothing gone wrong."""
    return kind is None or issubclass(kind, SystemExit)


def _error_of(call: Callable[[], object]) -> BaseException | None:
    try:
        call()
    except BaseException as error:
        return error
    return None


def _with_adapters(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy, with the names of services that stand in it."""
    tables = dict(config)
    pools = tables.get("pools")
    if isinstance(pools, Mapping):
        tables["pools"] = {name: _with_adapter(pool) for name, pool in cast("Mapping[str, Any]", pools).items()}
    return tables


def _with_adapter(pool: Any) -> Any:
    if not isinstance(pool, Mapping):
        return pool
    table = dict(cast("Mapping[str, Any]", pool))
    if isinstance(table.get("adapter"), Service):
        table["adapter"] = locate(table["adapter"])
    return table


def _own(told: HouseSettings, config: Config) -> HouseSettings:
    """A house that no other application's meets, and whose workers find what this process could import."""
    given = {key for key, where in config.origins.items() if not where.startswith(BUILT_IN)}
    own = {name: value for name, value in OWN.items() if f"broker.{name}" not in given}
    agents = [msgspec.structs.replace(it, path=tuple(dict.fromkeys((*it.path, *sys.path)))) for it in told.agents]
    return HouseSettings(msgspec.structs.replace(told.broker, **own), agents)
