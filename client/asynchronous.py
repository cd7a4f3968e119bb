"""The asynchronous client: the same verbs as `Client`, awaited, under trio and under asyncio, in one event loop."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, cast

import anyio
import anyio.abc
import zmq

from maitred.client.answers import AsyncMap, AsyncRequest, AsyncStream, Mailbox
from maitred.client.async_events import AsyncEvents
from maitred.client.async_link import AsyncLink
from maitred.client.async_pressure import AsyncPressure
from maitred.client.async_sessions import AsyncSession
from maitred.client.calls import (
    DEFAULT_CONNECT_TIMEOUT_S,
    QUERY_TIMEOUT_S,
    Call,
    OnSaturated,
    Priority,
    check_name,
    options,
    result,
)
from maitred.client.endpoint import find_endpoint
from maitred.client.errors import DeadlineExceeded
from maitred.client.lease import Lease, OnLost
from maitred.client.leased import Leased
from maitred.client.listening import Listening
from maitred.client.mapping import DEFAULT_MAP_WINDOW, MapPlan
from maitred.client.opening import Affinity, Wanted, key_of
from maitred.client.origin import Origin
from maitred.client.places import Place, claim, keep
from maitred.config.credentials import find_key
from maitred.protocol import limits, messages
from maitred.protocol.body import decode_body
from maitred.protocol.client import Question, Replied
from maitred.transport.context import new_context

# ruff: noqa: ASYNC109 - `timeout` is the request's own, and travels with it; a caller's scope works besides


class AsyncClient:
    """A client of one broker for one event loop: `async with AsyncClient() as client`.

    All tasks of the loop share it, and its one connection. A task that is cancelled while it waits has its request
    stopped; the client stays usable. It does not survive a fork, as the loop does not.

    Where an `async with` does not fit, start `run` in a task group of yours: `await tasks.start(client.run)`.

    The options of the calls are those of `Client`.

    Args:
        endpoint, connect_timeout, name, throttle, key: as `Client`.

    Raises:
        ValueError: the endpoint is none, or another argument makes no sense, or the key cannot be used; the text names it.
        Unavailable: no endpoint was given and no broker runs on this host.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        connect_timeout: float = DEFAULT_CONNECT_TIMEOUT_S,
        name: str = "",
        throttle: float | None = None,
        key: str | os.PathLike[str] | None = None,
    ) -> None:
        self.endpoint = find_endpoint(endpoint)
        self.connect_timeout = connect_timeout
        self._origin = Origin(name, throttle, key)
        find_key(self.endpoint, key)  # what is wrong with it is said at once
        self._link: AsyncLink | None = None
        self._exits = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        tasks = await self._exits.enter_async_context(anyio.create_task_group())
        self._exits.callback(tasks.cancel_scope.cancel)
        await tasks.start(self.run)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()
        if error is None or not _is_cancelled(error):  # the caller's own: not to be wrapped into a group of errors
            await self._exits.aclose()
        else:
            await self._exits.__aexit__(kind, error, at)

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled or closed; `async with` calls it. Once only."""
        if self._link is not None:
            raise RuntimeError("this client runs already, or is closed")
        context: zmq.Context[zmq.Socket[bytes]] = new_context()
        try:
            self._link = AsyncLink(context, self.endpoint, self._origin, self.connect_timeout)
            await self._link.run(task_status=task_status)
        finally:
            context.term()

    def close(self) -> None:
        """End the connection; what tasks wait for is stopped: `RequestCancelled`. Repeatable."""
        if self._link is not None:
            self._link.close()

    async def execute(
        self,
        pool: str | None,
        command: str,
        args: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        priority: Priority = "normal",
        retries: int | None = None,
        idempotent: bool | None = None,
        on_saturated: OnSaturated = "raise",
        session: Leased | str | None = None,
        affinity: Affinity | None = None,
        traceparent: str | None = None,
    ) -> Any:
        """Run a command and wait for its result. Cancelled, it has the request stopped.

        Arguments and errors as `Client.execute`.
        """
        link = self._open_link()
        call = Call(
            pool,
            command,
            args,
            options(timeout, priority, retries, idempotent, on_saturated, session, affinity, traceparent),
        )
        now = time.monotonic()
        call.begin(now)
        claim(call, self._origin, now)
        while True:
            request_id, mailbox = next(self._origin.numbers), Mailbox()
            try:
                await link.send(call, request_id, mailbox.put)
                answer = await mailbox.get()
            except BaseException:
                link.abandon(request_id)
                raise
            if type(answer) is Replied:  # nearly always
                return decode_body(answer.body)
            now = time.monotonic()
            again_at = call.again_at(answer, now)
            if again_at is None:
                keep(Place.of(answer, call, self._origin, now))
                return result(answer)
            await anyio.sleep(again_at - now)

    def stream(
        self,
        pool: str | None,
        command: str,
        args: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        priority: Priority = "normal",
        retries: int | None = None,
        idempotent: bool | None = None,
        on_saturated: OnSaturated = "raise",
        session: Leased | str | None = None,
        affinity: Affinity | None = None,
        traceparent: str | None = None,
    ) -> AsyncStream:
        """Run a command and give its parts as they come, to `async for`; the last value is its result.

        Arguments and errors as `Client.stream`. Leaving the loop has the request stopped once the stream is dropped;
        `async with` it to have that at once.
        """
        window = limits.DEFAULT_WINDOW_PARTS
        call = Call(
            pool,
            command,
            args,
            options(timeout, priority, retries, idempotent, on_saturated, session, affinity, traceparent),
            window,
        )
        return AsyncStream(self._open_link(), self._origin, call)

    async def submit(
        self,
        pool: str | None,
        command: str,
        args: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        priority: Priority = "normal",
        retries: int | None = None,
        idempotent: bool | None = None,
        on_saturated: OnSaturated = "raise",
        session: Leased | str | None = None,
        affinity: Affinity | None = None,
        traceparent: str | None = None,
    ) -> AsyncRequest:
        """Start a command and return once it is sent; large buffers in `args` must not change until it has ended.

        Arguments and errors as `Client.execute`; what the pool says of it is raised by the request's `result`.
        """
        call = Call(
            pool,
            command,
            args,
            options(timeout, priority, retries, idempotent, on_saturated, session, affinity, traceparent),
        )
        now = time.monotonic()
        call.begin(now)
        claim(call, self._origin, now)
        request = AsyncRequest(self._open_link(), self._origin, call)
        await request.send()
        return request

    def map(
        self,
        pool: str | None,
        command: str,
        items: Iterable[Mapping[str, Any]],
        *,
        timeout: float | None = None,
        priority: Priority = "normal",
        retries: int | None = None,
        idempotent: bool | None = None,
        on_saturated: OnSaturated = "wait",
        session: Leased | str | None = None,
        affinity: Affinity | None = None,
        traceparent: str | None = None,
        window: int = DEFAULT_MAP_WINDOW,
        return_exceptions: bool = False,
    ) -> AsyncMap:
        """Run a command once for each item and give the results in the items' order, to `async for`.

        As `Client.map`. Leaving the loop has what is under way stopped once the map is dropped; `async with` it to have
        that at once.
        """
        plan = MapPlan(
            pool,
            command,
            items,
            options(timeout, priority, retries, idempotent, on_saturated, session, affinity, traceparent),
            window,
            return_exceptions=return_exceptions,
        )
        return AsyncMap(self._open_link(), self._origin, plan)

    def session(
        self,
        pool: str | None = None,
        *,
        ttl: float | None = None,
        metadata: Mapping[str, Any] | None = None,
        affinity: Affinity | None = None,
        keep_alive: bool = False,
        on_lost: OnLost | None = None,
        id: str | None = None,
        timeout: float | None = None,
    ) -> AsyncSession:
        """Open a session, or attach to one by its `id`: `async with client.session("neural", ttl=7200) as session`.

        As `Client.session`; it is opened on entering the block, or by `await`. `on_lost` is called in the event loop.
        """
        wanted, known = Wanted(pool, ttl, metadata, affinity, keep_alive, id, timeout), anyio.Event()
        lease = Lease(wanted, on_lost, known.set)
        return AsyncSession(self, self._open_link(), self._origin, lease, known, wanted)

    def pressure(self, pool: str) -> AsyncPressure:
        """Be told how full a pool is: `async with client.pressure(…) as changes: async for pressure in changes`.

        As `Client.pressure`, without a callback; the errors are raised on entering.
        """
        check_name("pool", pool)
        return AsyncPressure(self._open_link(), self._origin, pool)

    def events(self, *names: str, after: int | None = None, follow: bool = True) -> AsyncEvents:
        """Be told what happens at the broker: `async for event in client.events("worker.*")`.

        As `Client.events`; `async with` it to have it end at once when the block is left.
        """
        return AsyncEvents(self._open_link(), self._origin, Listening(names, after, follow=follow))

    async def pools(self) -> list[dict[str, Any]]:
        """One row a pool, as `maitred status --json` has them."""
        return await self._ask(messages.Query, "pools")

    async def workers(self) -> list[dict[str, Any]]:
        """One row a worker, as `maitred workers --json` has them."""
        return await self._ask(messages.Query, "workers")

    async def requests(self) -> list[dict[str, Any]]:
        """As `Client.requests`."""
        return await self._ask(messages.Query, "requests")

    async def quarantine(self) -> list[dict[str, Any]]:
        """As `Client.quarantine`."""
        return await self._ask(messages.Query, "quarantine")

    async def sessions(self) -> list[dict[str, Any]]:
        """As `Client.sessions`."""
        return await self._ask(messages.Query, "sessions")

    async def deaths(self) -> list[dict[str, Any]]:
        """As `Client.deaths`."""
        return await self._ask(messages.Query, "deaths")

    async def broker(self) -> dict[str, Any]:
        """The broker itself: the "broker" of `maitred status --json`."""
        return await self._ask(messages.Query, "broker")

    async def operate(self, verb: str, target: str) -> dict[str, Any]:
        """As `Client.operate`."""
        return await self._ask(messages.Operate, verb, target)

    async def cancel_request(self, request: str) -> dict[str, Any]:
        """As `Client.cancel_request`."""
        return await self.operate("cancel", request)

    async def release(self, fingerprint: str) -> dict[str, Any]:
        """As `Client.release`."""
        return await self.operate("release", fingerprint)

    async def close_session(self, session: str) -> dict[str, Any]:
        """As `Client.close_session`."""
        return await self._ask(messages.Session, key_of(session), "close")

    async def _ask(self, kind: Callable[..., Question], *fields: str | bytes) -> Any:
        link, request_id, mailbox = self._open_link(), next(self._origin.numbers), Mailbox()
        try:
            with anyio.move_on_after(self.connect_timeout + QUERY_TIMEOUT_S):
                await link.ask(kind(request_id, *fields), mailbox.put)
                return result(await mailbox.get())
        finally:
            link.abandon(request_id)
        text = f"the broker at {self.endpoint} did not answer within {QUERY_TIMEOUT_S:g} s"
        raise DeadlineExceeded(text, where="unknown", timeout=QUERY_TIMEOUT_S)

    def _open_link(self) -> AsyncLink:
        if self._link is None:
            raise RuntimeError("this client does not run: use it in `async with`")
        if self._link.closed:
            raise RuntimeError("this client is closed")
        return self._link


def _is_cancelled(error: BaseException) -> bool:
    cancelled = anyio.get_cancelled_exc_class()
    if isinstance(error, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", error).subgroup(cancelled) is not None
    return isinstance(error, cancelled)
