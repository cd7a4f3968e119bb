"""All requests of one connection and who waits for each of them, without I/O.

An answer is handed to the sink of its request; after the terminal one the sink is forgotten. Each request gets exactly one
terminal answer, from the broker, or from here: `Failed` with `DeadlineExceeded` when its time and a grace have passed, and
with `PoolSaturated`, before `request` returns and with nothing sent, where the client throttles itself.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from maitred.client.calls import Answer, Call
from maitred.client.errors import MaitredError, PoolSaturated
from maitred.client.lease import Lease, SessionEvent
from maitred.client.throttling import Throttling
from maitred.protocol import messages
from maitred.protocol.bundles import opened
from maitred.protocol.client import (
    ClientConnection,
    Event,
    Failed,
    PartArrived,
    PressureChanged,
    Question,
    Replied,
    Welcomed,
)
from maitred.protocol.client_events import SessionEndedEvent
from maitred.protocol.errors import Code
from maitred.tracing.spans import CallSpan

if TYPE_CHECKING:
    from opentelemetry.context import Context

__all__ = ["Exchange", "SessionSink", "Sink", "WatchSink"]

Sink: TypeAlias = Callable[[Answer], object]
"""Takes the answers of one request."""

WatchSink: TypeAlias = Callable[[PressureChanged | Failed], object]
"""Takes what comes for one watch; after `Failed`, nothing does."""

SessionSink: TypeAlias = Callable[[SessionEvent], object]
"""Takes what comes of one session; after `Failed` or `SessionEndedEvent`, nothing does."""

SESSION_BUSY = "session_busy"
"""A refusal for this reason is about one worker, and says nothing of its pool."""

_log = logging.getLogger(__name__)


class Exchange:
    """See above. After each call `connection.outgoing` is to be sent.

    Args:
        connection: the protocol's half.
        throttling: the client's restraint, if it has any.

    Attributes:
        connection: the protocol's half.
        refused: why the broker does not take this connection at all, once it has said so.
    """

    def __init__(self, connection: ClientConnection, throttling: Throttling | None = None) -> None:
        self.connection = connection
        self.refused: MaitredError | None = None
        self._throttling = throttling
        self._throttled: dict[int, tuple[str | None, str]] = {}  # whom a refusal speaks of, where that matters
        self._sinks: dict[int, Sink] = {}
        self._watchers: dict[int, Callable[[Any], object]] = {}  # of pools and sessions: they hear more than one answer
        self._calls: dict[int, Call] = {}  # those that expire
        self._spans: dict[int, CallSpan] = {}  # those that are traced from here
        self._sweep_at = math.inf

    @property
    def waiting(self) -> bool:
        """Whether an answer is awaited."""
        return bool(self._sinks or self._watchers)

    def request(self, call: Call, request_id: int, sink: Sink, now: float) -> None:
        """Send a call.

        Raises:
            PayloadTooLarge: it is over the broker's limit; nothing is sent.
        """
        if self._throttling is not None and not self._may_ask(self._throttling, call, request_id, sink, now):
            return
        trace = "" if call.here is None else self._begin_span(call, call.here, request_id)
        try:
            self.connection.request(call.message(request_id, now, trace), call.body, now)
        except MaitredError as error:
            self._forget(request_id, error.code, error.message)
            raise
        self._sinks[request_id] = sink if call.lease is None else _overheard(call.lease, sink)
        expires = call.expires
        if expires is not None:
            self._calls[request_id] = call
            self._sweep_at = min(self._sweep_at, expires)

    def ask(self, message: Question, sink: Sink, now: float) -> None:
        """Ask the broker itself for something."""
        self.connection.ask(message, now)
        self._sinks[message.id] = sink

    def watch(self, request_id: int, pool: str, sink: WatchSink, now: float) -> None:
        """Be told how full a pool is, until `abandon`."""
        self.connection.watch(request_id, pool, now)
        self._watchers[request_id] = sink

    def join(
        self, message: messages.Open | messages.Session, body: Sequence[Any], sink: SessionSink, now: float
    ) -> None:
        """Open a session, or attach to one, and be told of it until `abandon`, which does not end it.

        Raises:
            PayloadTooLarge: the metadata is over the broker's limit; nothing is sent.
        """
        self.connection.join(message, body, now)
        self._watchers[message.id] = sink

    def cancel(self, request_id: int) -> None:
        """Have a request stopped; its terminal answer still comes."""
        self.connection.cancel(request_id)

    def abandon(self, request_id: int) -> bool:
        """Have a request stopped, or a watch, and forget it, or a session; False where it has ended already."""
        if self._forget(request_id, Code.CANCELLED) is None and self._watchers.pop(request_id, None) is None:
            return False
        self.connection.abandon(request_id)
        return True

    def withdraw(self, request_id: int) -> bool:
        """Forget a request that has not left yet; False where it has."""
        if not self.connection.withdraw(request_id):
            return False
        self._forget(request_id, Code.UNAVAILABLE)
        self._watchers.pop(request_id, None)
        return True

    def fail_unsent(self, request_id: int, error: MaitredError) -> None:
        """End a request that has not left yet with an error; one that has left goes on."""
        sink = self._sinks.get(request_id)
        if self.withdraw(request_id) and sink is not None:
            sink(Failed(request_id, error))

    def is_unsent(self, request_id: int) -> bool:
        """Whether it is outstanding and has not left yet."""
        return self.connection.is_unsent(request_id)

    def receive(self, message: Sequence[Any], now: float) -> int:
        """Take in one message, or a bundle; returns how many that were."""
        several = opened(message)
        if several is None:
            self._receive_one(message, now)
            return 1
        for one in several:
            self._receive_one(one, now)
        return len(several)

    def _receive_one(self, message: Sequence[Any], now: float) -> None:
        try:
            events = self.connection.receive(message, now)
            if self._throttled:
                self._note_refusals(events, now)
            self._hand_out(events)
        except MaitredError as error:  # not about one request: about the connection, or not to be understood
            if self.connection.welcome is None:
                self.refused = error
            elif self.waiting:
                self.fail_all(error)
            else:
                _log.warning("the broker said of this connection: %s", error)

    def tick(self, now: float) -> None:
        """Do what is due."""
        self._hand_out(self.connection.tick(now))
        if now >= self._sweep_at:
            self._sweep(now)

    def next_deadline(self) -> float:
        """When `tick` has something to do."""
        due = self.connection.next_deadline()
        return self._sweep_at if due is None else min(due, self._sweep_at)

    def fail_all(self, error: MaitredError) -> None:
        """End all that is outstanding with an error like this one."""
        self._hand_out(self.connection.fail_all(error))

    def _may_ask(self, throttling: Throttling, call: Call, request_id: int, sink: Sink, now: float) -> bool:
        error = throttling.ask(call.pool, call.command, now, kept=call.ticket > 0)
        if error is None:
            self._throttled[request_id] = (call.pool, call.command)
            return True
        sink(Failed(request_id, error))
        return False

    def _note_refusals(self, events: Iterable[Event], now: float) -> None:
        for event in events:
            if isinstance(event, Failed) and isinstance(event.error, PoolSaturated) and self._throttling is not None:
                asked = self._throttled.get(event.id)
                if asked is not None and event.error.reason != SESSION_BUSY:
                    self._throttling.refused(*asked, now)

    def _hand_out(self, events: Iterable[Event]) -> None:
        for event in events:
            if self._watchers and self._tell_watcher(event):
                continue
            if isinstance(event, PartArrived):
                sink = self._sinks.get(event.id)
            elif isinstance(event, Replied | Failed):
                failed = event.error if isinstance(event, Failed) else None
                sink = self._forget(event.id, failed.code if failed else "", failed.message if failed else "")
            else:
                continue
            if sink is not None:
                sink(event)

    def _tell_watcher(self, event: Event) -> bool:
        watcher = None if isinstance(event, Welcomed) else self._watchers.get(event.id)
        if watcher is None:
            return False
        if isinstance(event, Failed | SessionEndedEvent):
            del self._watchers[event.id]
        watcher(event)
        return True

    def _begin_span(self, call: Call, context: Context, request_id: int) -> str:
        span = CallSpan(context, call.pool, call.command, self.connection.address)
        self._spans[request_id] = span
        return span.trace

    def _forget(self, request_id: int, code: str, text: str = "") -> Sink | None:
        if self._spans and (span := self._spans.pop(request_id, None)) is not None:
            span.end(code, text)
        self._calls.pop(request_id, None)
        if self._throttled:
            self._throttled.pop(request_id, None)
        return self._sinks.pop(request_id, None)

    def _sweep(self, now: float) -> None:
        # Stale until here: an answered request leaves the time it would have expired at.
        expires = {request_id: call.expires or math.inf for request_id, call in self._calls.items()}
        self._sweep_at = min((at for at in expires.values() if at > now), default=math.inf)
        for request_id, at in expires.items():
            if at <= now:
                error = self._calls[request_id].overdue()
                sink = self._forget(request_id, error.code, error.message)
                self.connection.abandon(request_id)
                if sink is not None:
                    sink(Failed(request_id, error))


def _overheard(lease: Lease, sink: Sink) -> Sink:
    """A sink whose answers the lease hears first: whoever takes one finds the session as the answer has it."""

    def both(answer: Answer) -> None:
        lease.of_call(answer)
        sink(answer)

    return both
