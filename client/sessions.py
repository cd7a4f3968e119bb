"""A session of the synchronous client.

The client's background thread opens it, hears of its end, renews and closes it; calls go as any other does: `execute` and
`stream` over the calling thread's own connection, `submit` and `map` over the background thread's.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self, Unpack

from maitred.client.calls import QUERY_TIMEOUT_S, Answer, CallOptions, result
from maitred.client.errors import DeadlineExceeded, MaitredError, SessionLost, SessionNotFound
from maitred.client.futures import RequestFuture
from maitred.client.lease import Lease
from maitred.client.leased import Leased
from maitred.client.mapping import DEFAULT_MAP_WINDOW
from maitred.client.opening import Wanted
from maitred.client.orders import Order
from maitred.client.session_orders import AskOrder, JoinOrder, RenewOrder

__all__ = ["Session"]

_log = logging.getLogger(__name__)


class Caller(Protocol):
    """What a session needs of its client."""

    endpoint: str
    connect_timeout: float

    @property
    def execute(self) -> Callable[..., Any]: ...

    @property
    def stream(self) -> Callable[..., Generator[Any, None, None]]: ...

    @property
    def submit(self) -> Callable[..., RequestFuture]: ...

    @property
    def map(self) -> Callable[..., Generator[Any, None, None]]: ...


class Session(Leased):
    """A lease on one worker: all its calls run there, one at a time. Made by `Client.session`; a context manager.

    Threads may share it. Its calls run in the order in which the broker receives them: what one thread asks for by
    `execute` keeps its order, and so does what is submitted; between threads, and between the two, there is none.

    Leaving the block closes a session that was opened by it, and lets one alone that was attached to.
    """

    def __init__(
        self,
        client: Caller,
        lease: Lease,
        post: Callable[[Order], None],
        cancel: Callable[[Order], None],
        wanted: Wanted,
    ) -> None:
        super().__init__(lease)
        self._client = client
        self._post = post
        self._cancel = cancel
        self._wanted = wanted
        self._pid = os.getpid()
        self._orders: list[Order] = []

    def join(self, known: threading.Event) -> Self:
        """Open it, or attach to it, and wait until that is done. Called by `Client.session`."""
        self._begin(JoinOrder(self._lease))
        try:
            if not known.wait(self._wanted.timeout):
                raise self._lease.overdue(self._wanted.timeout)
            self._lease.check_joined(self._wanted.pool)
        except BaseException:
            self._give_up()
            raise
        if self._wanted.keep_alive and self.ttl is not None:
            self._begin(RenewOrder(self._lease.key, self.ttl))
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._pid != os.getpid():  # the parent's
            return
        if self._wanted.opening is None:
            self._leave()
            return
        try:
            self.close()
        except (MaitredError, RuntimeError) as reason:  # RuntimeError: the client was closed before
            _log.warning("a session of pool %r was not closed, and lives on for its ttl: %s", self.pool, reason)

    def execute(self, command: str, args: Mapping[str, Any] | None = None, **options: Unpack[CallOptions]) -> Any:
        """Run a command in this session and wait for its result. As `Client.execute`."""
        return self._client.execute(self.pool, command, args, session=self, **options)

    def stream(
        self, command: str, args: Mapping[str, Any] | None = None, **options: Unpack[CallOptions]
    ) -> Generator[Any, None, None]:
        """Run a command in this session and yield its parts as they come. As `Client.stream`."""
        return self._client.stream(self.pool, command, args, session=self, **options)

    def submit(
        self, command: str, args: Mapping[str, Any] | None = None, **options: Unpack[CallOptions]
    ) -> RequestFuture:
        """Start a command in this session and return at once. As `Client.submit`."""
        return self._client.submit(self.pool, command, args, session=self, **options)

    def map(
        self,
        command: str,
        items: Iterable[Mapping[str, Any]],
        *,
        window: int = DEFAULT_MAP_WINDOW,
        **options: Unpack[CallOptions],
    ) -> Generator[Any, None, None]:
        """Run a command in this session once for each item and yield the results in order. As `Client.map`.

        An item that the pool refused comes after others that were sent meanwhile.
        """
        options.setdefault("on_saturated", "wait")
        return self._client.map(self.pool, command, items, session=self, window=window, **options)

    def renew(self) -> None:
        """Let its time to live begin anew, as each reply does.

        Raises:
            SessionNotFound, SessionLost: it has ended.
            Unavailable: the broker is not there.
        """
        self._lease.check()
        self._await(self._ask("renew"))

    def close(self) -> None:
        """End it: its worker frees what it holds. Repeatable. What is unanswered of it is stopped: `RequestCancelled`.

        Raises:
            Unavailable, DeadlineExceeded: the broker is not there; the session lives on until its ttl is over.
        """
        if self._lease.closed:
            return
        answers = self._ask("close")
        self._lease.closed = True
        self._leave()
        with contextlib.suppress(SessionNotFound, SessionLost):  # it has ended already
            self._await(answers)

    # --- below: the background thread's orders ---

    def _begin(self, order: Order) -> None:
        self._orders.append(order)
        self._post(order)

    def _leave(self) -> None:
        """Hear no more of it, and renew it no more."""
        while self._orders:
            self._cancel(self._orders.pop())

    def _give_up(self) -> None:
        """Whoever asked for it wants it no more; where it was opened meanwhile, nobody knows of it."""
        self._leave()
        if self._wanted.opening is not None:
            self._lease.closed = True
            with contextlib.suppress(RuntimeError):  # the client was closed
                self._post(AskOrder(self._lease.key, "close", lambda _: None))

    def _ask(self, verb: str) -> queue.SimpleQueue[Answer]:
        answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._post(AskOrder(self._lease.key, verb, answers.put))
        return answers

    def _await(self, answers: queue.SimpleQueue[Answer]) -> None:
        timeout = self._client.connect_timeout + QUERY_TIMEOUT_S
        try:
            answer = answers.get(timeout=timeout)
        except queue.Empty:
            text = f"the broker at {self._client.endpoint} did not answer within {timeout:g} s"
            raise DeadlineExceeded(text, pool=self.pool, where="unknown", timeout=timeout) from None
        result(answer)
