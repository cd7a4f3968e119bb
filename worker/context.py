"""What a running function may know and ask: its request, its time, and other pools. No sockets, no threads in here.

The process that runs the function makes one `Context` for each request and gives it the way out (`caller`). An
application's unit test makes a plain `Context()`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from maitred.tracing.spans import is_recording
from maitred.worker.own_events import check_event
from maitred.worker.session import Session

__all__ = ["Caller", "Cancelled", "Context", "NotBegun"]

Caller = Callable[[str | None, str, dict[str, Any] | None, float | None, str | None], Any]
"""(pool, command, arguments, timeout in seconds, position in a trace) -> the result."""

Teller = Callable[[str, dict[str, Any], str, str], object]
"""(name, fields, command, request) of an event. Never waits."""

AsyncCaller = Callable[[str | None, str, dict[str, Any] | None, float | None, str | None], Awaitable[Any]]


def check_only(name: str, fields: dict[str, Any], _command: str, _request: str) -> None:
    """Nobody is told: there is no broker. Raises as it would with one."""
    check_event(name, fields)


class Cancelled(BaseException):
    """The request was told to stop; raised inside the function that serves it.

    Let it pass, after releasing what has to be released (`finally`): catching it is the way to be killed instead.

    Attributes:
        reason: "cancelled" (by the caller), "deadline" (its time ran out), "client_lost", "operator" (somebody who
            operates the broker) or "draining" (the broker ends).
    """

    # A BaseException, as trio's, asyncio's and KeyboardInterrupt are: application code is full of `except Exception`
    # around single steps, and each of them would swallow the order to stop and carry on until the process is killed.

    def __init__(self, reason: str = "cancelled") -> None:
        super().__init__(f"the request was told to stop: {reason}")
        self.reason = reason

    def __reduce__(self) -> tuple[type[Cancelled], tuple[str]]:
        return type(self), (self.reason,)


class NotBegun(Cancelled):
    """It was told to stop before it began: nothing has happened."""


class Context:
    """One request, as seen by the function that serves it.

    Attributes:
        pool: name of the pool this worker serves.
        command: name of the command that runs.
        request_id: names the request in logs, for its whole life.
        attempt: 1 for the first run of the request; more where an idempotent one is run again.
        worker_id: names this process in logs and tables.
        deadline: when the caller's time runs out, on the clock of `time.monotonic()`; None where it never does.
        session: what the caller keeps here between its requests; None where it has none.
        traceparent: the request's position in a trace, as the header of that name of W3C Trace Context; "": it has none.
        tracestate: what goes with it.
    """

    __slots__ = (
        "_acaller",
        "_caller",
        "_clock",
        "_log",
        "_reason",
        "_teller",
        "_wake",
        "attempt",
        "command",
        "deadline",
        "pool",
        "request_id",
        "session",
        "traceparent",
        "tracestate",
        "worker_id",
    )

    def __init__(
        self,
        *,
        pool: str = "",
        command: str = "",
        request_id: str = "",
        attempt: int = 1,
        worker_id: str = "",
        deadline: float | None = None,
        session: Session | None = None,
        caller: Caller | None = None,
        acaller: AsyncCaller | None = None,
        teller: Teller = check_only,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pool = pool
        self.command = command
        self.request_id = request_id
        self.attempt = attempt
        self.worker_id = worker_id
        self.deadline = deadline
        self.session = session
        self.traceparent = self.tracestate = ""
        self._caller = caller
        self._acaller = acaller
        self._teller = teller
        self._clock = clock
        self._reason: str | None = None
        self._wake: threading.Event | None = None
        self._log: logging.LoggerAdapter[logging.Logger] | None = None

    @property
    def remaining(self) -> float | None:
        """Seconds that are left of the caller's time, at least 0; None where there is no limit."""
        return None if self.deadline is None else max(0.0, self.deadline - self._clock())

    @property
    def cancelled(self) -> bool:
        """Whether the function should stop: it was told to, or its deadline has passed."""
        return self.cancel_reason is not None

    @property
    def cancel_reason(self) -> str | None:
        """Why the function should stop, as `Cancelled.reason`; None while it should not."""
        if self._reason is None and self.deadline is not None and self._clock() >= self.deadline:
            return "deadline"
        return self._reason

    def check_cancelled(self) -> None:
        """Return at once while the caller still waits; cheap enough for an inner loop.

        Raises:
            Cancelled: the request was told to stop, or its deadline has passed.
        """
        reason = self.cancel_reason
        if reason is not None:
            raise Cancelled(reason)

    def check_before_it_begins(self) -> None:
        """The last look before the function is called.

        Raises:
            NotBegun: its caller does not wait any more.
        """
        reason = self.cancel_reason
        if reason is not None:
            raise NotBegun(reason)

    def cancel(self, reason: str = "cancelled") -> None:
        """Tell the function to stop. From any thread; the first reason is the one that stays."""
        if self._reason is None:
            self._reason = reason
        wake = self._wake  # read after the reason was written, as `sleep` writes it before reading the reason
        if wake is not None:
            wake.set()

    def sleep(self, seconds: float) -> None:
        """Sleep in a synchronous command, but no longer than the caller waits. Async ones use `trio.sleep`.

        Raises:
            Cancelled: as soon as the request is told to stop or its deadline passes.
        """
        end = self._clock() + seconds
        wake = self._wake = self._wake or threading.Event()
        while True:
            self.check_cancelled()
            until = end if self.deadline is None else min(end, self.deadline)
            left = until - self._clock()
            if left <= 0:
                self.check_cancelled()
                return
            wake.wait(min(left, threading.TIMEOUT_MAX))

    def call(
        self, pool: str | None, command: str, args: dict[str, Any] | None = None, *, timeout: float | None = None
    ) -> Any:
        """Call a command of another pool and wait for its result; pool None lets the broker choose by the command.

        The call has `timeout` seconds, and never more than this request has left. When this request is told to stop
        the call is given up too.

        Raises:
            Cancelled: this request was told to stop.
            MaitredError: whatever went wrong with the call, as a client would see it.
            RuntimeError: nothing to call with: a unit test's context, or an async command (use `await acall`).
        """
        if self._caller is None:
            raise RuntimeError(self._no_way_out("context.call", "await context.acall", self._acaller is not None))
        self.check_cancelled()
        return self._caller(pool, command, args, self._budget(timeout), self._position())

    async def acall(
        self,
        pool: str | None,
        command: str,
        args: dict[str, Any] | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - travels with the request, as everywhere in maitred
    ) -> Any:
        """Do what `call` does, in an async command: other requests of this worker run meanwhile."""
        if self._acaller is None:
            raise RuntimeError(self._no_way_out("context.acall", "context.call", self._caller is not None))
        self.check_cancelled()
        return await self._acaller(pool, command, args, self._budget(timeout), self._position())

    def event(self, name: str, /, **fields: Any) -> None:
        """Tell operators of something that happened here: `context.event("cache.full", size=n)`.

        It is the event `app.NAME` in the broker's log, for whoever listens (`Client.events`), and on the dashboard, with
        pool, worker, command and request beside its fields. From any kind of command, hook and thread; it never waits, and
        is lost where the broker stays away. Of one worker 10 a second are told, and 50 at once; the next one that is told
        says how many were left out (`lost`). Without a broker, as in a unit test, it is checked and no more.

        Args:
            name: small letters, digits, `_`, with dots between words; 64 characters at most.
            fields: 16 at most: None, bool, int of 64 bits, float, or str, which is cut to 256 characters. No secrets: who
                may read everything reads these.

        Raises:
            ValueError, TypeError: the name or a field is none of these.
        """
        self._teller(name, fields, self.command, self.request_id)

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger named maitred.worker.<pool>; its records carry command, request_id, attempt and worker_id."""
        if self._log is None:
            fields = {
                "command": self.command,
                "request_id": self.request_id,
                "attempt": self.attempt,
                "worker_id": self.worker_id,
            }
            name = f"maitred.worker.{self.pool}" if self.pool else "maitred.worker"
            self._log = logging.LoggerAdapter(logging.getLogger(name), fields)
        return self._log

    def _position(self) -> str | None:
        """Where a call of the function stands: in its span, which the client finds itself, else where the request does."""
        if not self.traceparent or is_recording():
            return None
        return f"{self.traceparent} {self.tracestate}" if self.tracestate else self.traceparent

    def _budget(self, timeout: float | None) -> float | None:
        remaining = self.remaining
        if timeout is None or remaining is None:
            return remaining if timeout is None else timeout
        return min(timeout, remaining)

    @staticmethod
    def _no_way_out(asked: str, other: str, other_works: bool) -> str:
        advice = f"use {other}" if other_works else "this context is connected to no broker"
        return f"{asked} cannot be used here: {advice}"
