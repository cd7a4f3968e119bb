"""One DEALER and its exchange under anyio: two tasks of `run` receive, keep time, and send what could not leave at once.

All else is called from tasks of the same loop and never blocks, so that a cancelled caller can still have its request
stopped.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import anyio
import anyio.abc
import zmq

from maitred.client.calls import Call
from maitred.client.errors import MaitredError, Unavailable
from maitred.client.exchange import Exchange, SessionSink, Sink, WatchSink
from maitred.client.link import closed_error
from maitred.client.origin import Origin
from maitred.client.turn import Turn
from maitred.protocol import limits, messages
from maitred.protocol.bundles import fits
from maitred.protocol.client import Question
from maitred.transport.anyio_dealers import open_anyio_dealer
from maitred.transport.errors import EndpointError, SocketClosed, WouldBlock
from maitred.transport.frames import Frame
from maitred.transport.refusals import again

__all__ = ["AsyncLink"]

CLOSE_LINGER_MS = 50
"""How long a BYE may take to leave when the client is closed: the loop stands still meanwhile."""

IDLE_INTERVAL_S = 0.5
"""Longest sleep of the time-keeper before a broker has named its heartbeat's interval."""

PUSH_TIMEOUT_S = 0.5
"""How long a message waits for room before time is looked at again."""


class AsyncLink:
    """A connection for one event loop.

    Args:
        context: the client's ZeroMQ context.
        endpoint: the broker's.
        origin: who is calling.
        connect_timeout: seconds within which the broker must answer, or take a message.

    Attributes:
        closed: whether it can be used no more.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, origin: Origin, connect_timeout: float
    ) -> None:
        self.endpoint = endpoint
        key = origin.key(endpoint)
        self.exchange = Exchange(origin.connection(endpoint, key), origin.throttling)
        self.connection = self.exchange.connection
        self.closed = False
        self.connect_timeout = connect_timeout
        try:
            self._dealer, self._refusals = open_anyio_dealer(
                endpoint, lambda: context, CLOSE_LINGER_MS, self._end_turn, key
            )
        except EndpointError as error:
            raise Unavailable(str(error), reason="no_broker", address=endpoint) from None
        self._turn = Turn()
        self._pushing = False
        self._moved: anyio.Event | None = None  # while someone waits: set when WELCOME came or a message left
        self._kick = anyio.Event()
        self._alarms: list[tuple[float, int, Callable[[], None]]] = []
        self._alarm_numbers = itertools.count()

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled or closed; what is outstanding then fails."""
        try:
            async with anyio.create_task_group() as tasks:
                await tasks.start(self._dealer.receive_loop, self._receive)
                tasks.start_soon(self._keep_time)
                tasks.start_soon(self._watch_refusals)
                task_status.started()
        finally:
            self.close()

    def close(self) -> None:
        """Leave. Repeatable."""
        if self.closed:
            return
        self.closed = True
        self.exchange.fail_all(closed_error())
        self.connection.bye()
        self.flush()
        self._dealer.close()
        self._refusals.close()
        self._pulse()
        self._kick.set()

    async def send(self, call: Call, request_id: int, sink: Sink) -> None:
        """Send a call, once there is a connection and room. Cancelled, it has sent nothing.

        Raises:
            PayloadTooLarge: it is over the broker's limit.
            Unavailable: the broker is not there, or does not take it; it was not sent.
        """
        now = time.monotonic()
        until = now + call.patience(now, self.connect_timeout)
        if self.closed or self.connection.welcome is None:
            try:
                await self._be_welcomed(until)
            except MaitredError as error:
                call.not_sent(error)
                raise
            now = time.monotonic()
        self.exchange.request(call, request_id, sink, now)
        if self._leaves_with_others(now):
            self._turn.waiting[request_id] = until
            return
        sent = self.flush()
        self._turn.spoke(time.monotonic())
        if not sent:
            await self._be_sent(request_id, until)

    async def ask(self, message: Question, sink: Sink) -> None:
        """Ask the broker itself for something. Raises as `send` does."""
        until = time.monotonic() + self.connect_timeout
        await self._be_welcomed(until)
        self.exchange.ask(message, sink, time.monotonic())
        await self._be_sent(message.id, until)

    async def watch(self, request_id: int, pool: str, sink: WatchSink) -> None:
        """Be told how full a pool is, until `abandon`. Cancelled, it watches nothing. Raises as `send` does."""
        until = time.monotonic() + self.connect_timeout
        await self._be_welcomed(until)
        self.exchange.watch(request_id, pool, sink, time.monotonic())
        await self._be_sent(request_id, until)

    async def join(
        self, message: messages.Open | messages.Session, body: Sequence[Any], sink: SessionSink, until: float
    ) -> None:
        """Open a session, or attach to one, and be told of it until `abandon`. Raises as `send` does."""
        await self._be_welcomed(until)
        self.exchange.join(message, body, sink, time.monotonic())
        await self._be_sent(message.id, until)

    def post_question(self, message: Question, sink: Sink) -> None:
        """Ask the broker itself for something, without waiting for room. There was a connection before."""
        self._check()
        self.exchange.ask(message, sink, time.monotonic())
        self.flush()

    def post(self, call: Call, request_id: int, sink: Sink) -> None:
        """Send a call without waiting for room: for one that was sent before. Raises as `send` does."""
        self._check()
        self.exchange.request(call, request_id, sink, time.monotonic())
        self.flush()

    def cancel(self, request_id: int) -> None:
        """Have a request stopped; its answer still comes."""
        self.exchange.cancel(request_id)
        self.flush()

    def abandon(self, request_id: int) -> None:
        """Have a request stopped, or a watch, and forget it, if it has not ended."""
        if self.exchange.abandon(request_id):
            self.flush()

    def grant(self, request_id: int, parts: int) -> None:
        """Allow so many parts more."""
        self.connection.grant(request_id, parts)
        self.flush()

    def flush(self) -> bool:
        """Send what there is to send; what is left is sent by `run`. Returns whether nothing is."""
        outgoing = self.connection.outgoing
        while outgoing and not self._pushing:
            message, count = self.connection.first_outgoing()
            try:
                self._dealer.send_nowait(message)
            except WouldBlock:
                self._kick.set()
                return False
            except SocketClosed:
                return False
            del outgoing[:count]
            self._pulse()
        return not outgoing

    def call_at(self, at: float, action: Callable[[], None]) -> None:
        """Have something done at a time (monotonic seconds)."""
        heapq.heappush(self._alarms, (at, next(self._alarm_numbers), action))
        self._kick.set()

    # --- below: the two tasks ---

    def _leaves_with_others(self, now: float) -> bool:
        """Whether a request that was just said waits for the end of this turn of the loop.

        No more of them wait than one bundle holds, so that a task that sends without end meets the queue's bound.
        """
        turn, outgoing = self._turn, self.connection.outgoing
        if self._pushing or not turn.is_shared(now):
            return False
        if not (self.connection.bundles and 0 < len(outgoing) < limits.MAX_BUNDLE_MESSAGES and fits(outgoing[-1])):
            return False
        if not turn.waiting:
            self._dealer.kick()
        return True

    def _receive(self, message: list[Frame]) -> None:
        known = self.connection.welcome is not None
        self._turn.came(self.exchange.receive(message, time.monotonic()))
        if not known:
            self._pulse()

    def _end_turn(self) -> None:
        waited = self._turn.end()
        if self.connection.outgoing and not self.flush():
            if self._refusals.refusal is not None:
                self.exchange.fail_all(self._refusals.refusal)
            for request_id, until in waited.items():
                self.call_at(until, functools.partial(self._give_up_unsent, request_id))

    def _give_up_unsent(self, request_id: int) -> None:
        if self._pushing:  # nothing is withdrawn then: what is being sent may be it
            self.call_at(time.monotonic() + PUSH_TIMEOUT_S, functools.partial(self._give_up_unsent, request_id))
        else:
            self.exchange.fail_unsent(request_id, self._not_there())

    async def _keep_time(self) -> None:
        self.connection.start(time.monotonic())
        while not self.closed:
            self._kick = anyio.Event()
            now = time.monotonic()
            while self._alarms and self._alarms[0][0] <= now:
                heapq.heappop(self._alarms)[2]()
            if now >= self.exchange.next_deadline():
                self.exchange.tick(now)
            if not self.flush():
                await self._push()
                continue
            with anyio.move_on_after(self._pause(now)):
                await self._kick.wait()

    async def _watch_refusals(self) -> None:
        """See whether the broker lets this process in, and try again where it does not. All is read before it sleeps."""
        while not self.closed:
            now = time.monotonic()
            if self._refusals.look(now):
                self._dealer.kick()
            refusal = self._refusals.refusal
            if refusal is not None:
                if self.exchange.waiting and self.connection.welcome is not None:
                    self.exchange.fail_all(refusal)
                self._pulse()
            with anyio.move_on_after(self._refusals.next_deadline() - now):
                await self._dealer.handshake()

    def _pause(self, now: float) -> float:
        # While nothing is awaited there is no deadline, and the first request does not wake this task: so it sleeps no
        # longer than the interval in which that request's first heartbeat is due.
        welcome = self.connection.welcome
        interval = IDLE_INTERVAL_S if welcome is None else welcome.interval
        alarm_at = self._alarms[0][0] if self._alarms else math.inf
        return max(0.0, min(self.exchange.next_deadline() - now, alarm_at - now, interval))

    async def _push(self) -> None:
        message = self.connection.outgoing[0]
        self._pushing = True
        try:
            await self._dealer.send(message, timeout_s=PUSH_TIMEOUT_S)
        except WouldBlock:
            return
        except SocketClosed:
            return
        finally:
            self._pushing = False
        if self.connection.outgoing and self.connection.outgoing[0] is message:
            del self.connection.outgoing[0]
        self._pulse()

    # --- below: waiting ---

    async def _be_welcomed(self, until: float) -> None:
        started = time.monotonic()
        while self.connection.welcome is None:
            self._check()
            if not await self._move(until):
                raise self._refusals.no_answer(until - started)
        self._check()

    def _check(self) -> None:
        if self.closed:
            raise closed_error()
        if self.connection.welcome is None and self.exchange.refused is not None:
            raise again(self.exchange.refused)
        if self.connection.welcome is None and self._refusals.refusal is not None:
            raise again(self._refusals.refusal)

    async def _be_sent(self, request_id: int, until: float) -> None:
        """Wait for what is before it, and itself, to leave."""
        if self.flush():
            return
        try:
            while self.exchange.is_unsent(request_id):
                if self._refusals.refusal is not None or not await self._move(until):
                    break
            else:
                return
            raise self._not_there()
        except BaseException:
            if self._pushing or not self.exchange.withdraw(request_id):
                self.abandon(request_id)
            raise

    def _not_there(self) -> MaitredError:
        if self._refusals.refusal is not None:
            return again(self._refusals.refusal)
        text = f"the broker at {self.endpoint} is not there, or takes nothing more"
        return Unavailable(text, reason="no_broker", address=self.endpoint)

    async def _move(self, until: float) -> bool:
        """Wait until something moved; False when the time was over before."""
        now = time.monotonic()
        if now >= until:
            return False
        if self._moved is None:
            self._moved = anyio.Event()
        with anyio.move_on_after(until - now):
            await self._moved.wait()
        return True

    def _pulse(self) -> None:
        if self._moved is not None:
            self._moved.set()
            self._moved = None
