"""A session of the asynchronous client: as `sessions`, in one event loop and over its one connection."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self, Unpack

import anyio

from maitred.client.answers import AsyncMap, AsyncRequest, AsyncStream, Mailbox
from maitred.client.async_link import AsyncLink
from maitred.client.calls import QUERY_TIMEOUT_S, Answer, CallOptions, result
from maitred.client.errors import DeadlineExceeded, MaitredError, SessionLost, SessionNotFound
from maitred.client.exchange import Sink
from maitred.client.lease import Lease
from maitred.client.leased import Leased
from maitred.client.mapping import DEFAULT_MAP_WINDOW
from maitred.client.opening import Wanted
from maitred.client.origin import Origin
from maitred.client.session_orders import RENEWALS_IN_TTL
from maitred.protocol import messages

__all__ = ["AsyncSession"]

_log = logging.getLogger(__name__)


class Caller(Protocol):
    """What a session needs of its client."""

    endpoint: str
    connect_timeout: float

    @property
    def execute(self) -> Callable[..., Awaitable[Any]]: ...

    @property
    def stream(self) -> Callable[..., AsyncStream]: ...

    @property
    def submit(self) -> Callable[..., Awaitable[AsyncRequest]]: ...

    @property
    def map(self) -> Callable[..., AsyncMap]: ...


class AsyncSession(Leased):
    """A lease on one worker: `async with client.session(…) as session`, or `session = await client.session(…)`.

    As `Session`. Its calls run in the order in which they were made: tasks share one connection.
    """

    def __init__(
        self, client: Caller, link: AsyncLink, origin: Origin, lease: Lease, known: anyio.Event, wanted: Wanted
    ) -> None:
        super().__init__(lease)
        self._client = client
        self._link = link
        self._origin = origin
        self._known = known
        self._wanted = wanted
        self._request_id = 0
        self._renewing = False
        self._renewal: list[None] = []  # the one that is unanswered

    def __await__(self) -> Generator[Any, None, Self]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> Self:
        """Open it, or attach to it. Cancelled, it is closed again."""
        if self._request_id:
            return self
        self._request_id = next(self._origin.numbers)
        try:
            await self._join()
            self._lease.check_joined(self._wanted.pool)
        except BaseException:
            self._give_up()
            raise
        if self._wanted.keep_alive and self.ttl is not None:
            self._renewing = True
            self._link.call_at(time.monotonic() + self.ttl / RENEWALS_IN_TTL, self._renew_again)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._wanted.opening is None:
            self._leave()
            return
        try:
            await self.close()
        except (MaitredError, RuntimeError) as reason:  # RuntimeError: the client was closed before
            _log.warning("a session of pool %r was not closed, and lives on for its ttl: %s", self.pool, reason)

    async def execute(self, command: str, args: Mapping[str, Any] | None = None, **options: Unpack[CallOptions]) -> Any:
        """Run a command in this session and wait for its result. As `AsyncClient.execute`."""
        return await self._client.execute(self.pool, command, args, session=self, **options)

    def stream(
        self, command: str, args: Mapping[str, Any] | None = None, **options: Unpack[CallOptions]
    ) -> AsyncStream:
        """Run a command in this session and give its parts as they come. As `AsyncClient.stream`."""
        return self._client.stream(self.pool, command, args, session=self, **options)

    async def submit(
        self, command: str, args: Mapping[str, Any] | None = None, **options: Unpack[CallOptions]
    ) -> AsyncRequest:
        """Start a command in this session and return once it is sent. As `AsyncClient.submit`."""
        return await self._client.submit(self.pool, command, args, session=self, **options)

    def map(
        self,
        command: str,
        items: Iterable[Mapping[str, Any]],
        *,
        window: int = DEFAULT_MAP_WINDOW,
        **options: Unpack[CallOptions],
    ) -> AsyncMap:
        """Run a command in this session once for each item. As `AsyncClient.map`."""
        options.setdefault("on_saturated", "wait")
        return self._client.map(self.pool, command, items, session=self, window=window, **options)

    async def renew(self) -> None:
        """Let its time to live begin anew. Errors as `Session.renew`."""
        self._lease.check()
        await self._ask("renew")

    async def close(self) -> None:
        """End it. Repeatable; cancelled, it has asked the broker and not heard. Errors as `Session.close`."""
        if self._lease.closed:
            return
        self._lease.closed = True
        self._leave()
        with contextlib.suppress(SessionNotFound, SessionLost):  # it has ended already
            await self._ask("close")

    # --- below: what is said of it ---

    async def _join(self) -> None:
        link, lease, timeout = self._link, self._lease, self._wanted.timeout
        with anyio.move_on_after(timeout):
            until = time.monotonic() + link.connect_timeout
            await link.join(lease.joining(self._request_id), lease.body, lease.hear, until)
            await self._known.wait()
            return
        raise lease.overdue(timeout)

    def _leave(self) -> None:
        """Hear no more of it, and renew it no more."""
        self._renewing = False
        self._link.abandon(self._request_id)

    def _give_up(self) -> None:
        """Whoever asked for it wants it no more; where it was opened meanwhile, nobody knows of it."""
        self._leave()
        if self._wanted.opening is not None and self._link.connection.welcome is not None:
            self._lease.closed = True
            with contextlib.suppress(MaitredError):  # the client was closed
                self._post("close", _ignore)

    def _renew_again(self) -> None:
        if not self._renewing or self.lost is not None or self._link.closed or self.ttl is None:
            return
        if not self._renewal:  # else it waits for a broker to come back
            self._renewal.append(None)
            self._post("renew", self._renewed)
        self._link.call_at(time.monotonic() + self.ttl / RENEWALS_IN_TTL, self._renew_again)

    def _renewed(self, _: Answer) -> None:
        self._renewal.clear()

    def _post(self, verb: str, sink: Sink) -> None:
        self._link.post_question(messages.Session(next(self._origin.numbers), self._lease.key, verb), sink)

    async def _ask(self, verb: str) -> None:
        mailbox = Mailbox()
        self._post(verb, mailbox.put)
        timeout = self._client.connect_timeout + QUERY_TIMEOUT_S
        with anyio.move_on_after(timeout):
            result(await mailbox.get())
            return
        text = f"the broker at {self._client.endpoint} did not answer within {timeout:g} s"
        raise DeadlineExceeded(text, pool=self.pool, where="unknown", timeout=timeout)


def _ignore(_: Answer) -> None:
    """Nobody waits for it."""
