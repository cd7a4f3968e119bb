"""A client of maitred that is nothing but the protocol and a socket: the lightest load generator there is.

A library spends on each request what its users gain from it, futures, tasks and threads, and on a machine of few cores that
is taken from what is measured. An overload comes from many machines; one process that stands for them must cost little. It
is no client to use: it has one connection, one thread, and no place that the broker keeps is ever taken up.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import time
from collections.abc import Callable

import zmq

from maitred.benchmarks.method.drivers import drive_calls, precise_sleeps
from maitred.benchmarks.method.load import Flow, Load
from maitred.benchmarks.method.pace import Pace
from maitred.benchmarks.method.recorder import now_ns
from maitred.benchmarks.method.timeline import Ended
from maitred.benchmarks.subjects.protocol import Payload, StartError
from maitred.client.origin import Origin
from maitred.protocol import messages
from maitred.protocol.body import decode_body, encode_body
from maitred.protocol.bundles import opened
from maitred.protocol.client import Event, Failed, Replied
from maitred.transport.errors import WouldBlock
from maitred.transport.frames import Inbox, send_message
from maitred.transport.sockets import connect, dealer

__all__ = ["WireCaller"]

CONNECT_TIMEOUT_MS = 10_000
"""Within this the broker has to know it."""

SPIN_NS = 80_000
"""Before this is left until a request is due, it is waited for without sleeping: a wake-up takes 30 to 60 µs."""

LONGEST_SLEEP_S = 0.25
"""So often at least the conversation's own timer is looked at."""

HIGH_WATER_MARK = 10_000
"""Messages each way: more than are ever due at once in an open loop."""


class WireCaller:
    """See `Caller`.

    Args:
        endpoint: the broker's.
        pool: what is called.

    Raises:
        StartError: nobody answered.
    """

    def __init__(self, endpoint: str, pool: str) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = dealer(self._context, hwm=HIGH_WATER_MARK)
        self._inbox = Inbox(self._socket)
        self._descriptor = int(self._socket.getsockopt(zmq.FD))
        self._conversation = Origin("bench-wire").connection(endpoint, None)
        self._numbers = itertools.count(1)
        self._pool = pool
        connect(self._socket, endpoint)
        self._conversation.start(time.monotonic())
        try:
            self._greet(endpoint)
        except StartError:
            self._context.destroy(0)
            raise

    def _greet(self, endpoint: str) -> None:
        if not self._socket.poll(CONNECT_TIMEOUT_MS, zmq.POLLOUT):
            raise StartError(f"{endpoint} takes nothing")
        self.flush()
        if not self._socket.poll(CONNECT_TIMEOUT_MS):
            raise StartError(f"{endpoint} does not answer")
        self.arrived()

    def call(self, payload: Payload, task_s: float = 0.0) -> Payload:
        """See `Caller`."""
        number = self.send(encode_body({"payload": payload, "task_s": task_s}), None)
        while True:
            for event in self.arrived():
                if isinstance(event, Failed):
                    raise event.error
                if isinstance(event, Replied) and event.id == number:
                    return decode_body(event.body)
            self.sleep(LONGEST_SLEEP_S)

    def drive(self, load: Load) -> Flow:
        """See `Caller`."""
        if load.outstanding == 1 and not load.rate_per_s:
            return drive_calls(lambda: self.call(load.payload, load.task_s), load)
        return self.drive_watched(load)

    def drive_watched(self, load: Load, watch: Callable[[Ended], object] | None = None) -> Flow:
        """The same, with many outstanding; `watch` is told of each end, and must not block."""
        return _Drive(self, load, watch).run()

    def send(self, body: list[bytes], timeout_s: float | None) -> int:
        """Send a request; returns its number."""
        number = next(self._numbers)
        request = messages.Request(number, self._pool, "echo", timeout_s)
        self._conversation.request(request, body, time.monotonic())
        self.flush()
        return number

    def arrived(self) -> list[Event]:
        """What came since."""
        now, events = time.monotonic(), list[Event]()
        try:
            while True:
                frames = self._inbox.receive()
                assert isinstance(frames, list)
                for message in opened(frames) or [frames]:
                    events += self._conversation.receive(message, now)
        except zmq.Again:
            events += self._conversation.tick(now)
            self.flush()
            return events

    def sleep(self, seconds: float) -> None:
        """Sleep until something came, or so long. Right after `arrived`: else the descriptor says nothing."""
        select.select([self._descriptor], [], [], max(0.0, seconds))

    def flush(self) -> None:
        """Send what the conversation wants to have sent; what the broker does not take yet stays for the next time."""
        outgoing, sent = self._conversation.outgoing, 0
        with contextlib.suppress(WouldBlock):
            for message in outgoing:
                send_message(self._socket, message)
                sent += 1
        del outgoing[:sent]

    def close(self) -> None:
        """See `Caller`."""
        if not self._socket.closed:
            self._conversation.bye()
            self.flush()
            self._socket.close()
            self._context.term()


class _Drive:
    """One load: sends what is due, takes in what is there, sleeps until either."""

    def __init__(self, caller: WireCaller, load: Load, watch: Callable[[Ended], object] | None) -> None:
        self._caller, self._load, self._watch = caller, load, watch
        self._body = encode_body({"payload": load.payload, "task_s": load.task_s})
        self._under_way: dict[int, tuple[int, int]] = {}  # by number: when it was due, and when it was sent
        self._pace = Pace(load)

    def run(self) -> Flow:
        precise_sleeps()
        while True:
            due = self._send_due()
            if due is None and not self._under_way:
                return self._pace.end()
            events = self._caller.arrived()
            for event in events:
                if isinstance(event, Replied | Failed):
                    self._take(event)
            if not events:
                self._sleep(due)

    def _send_due(self) -> int | None:
        """Send while something is due and there is room; returns when the next one is due, None after the last."""
        while True:
            due = self._pace.next_due_ns()
            if due is None or due > now_ns() or len(self._under_way) >= self._load.outstanding:
                return due
            due, sent_ns = self._pace.take(due), now_ns()
            self._under_way[self._caller.send(self._body, self._load.timeout_s)] = (due, sent_ns)

    def _take(self, event: Replied | Failed) -> None:
        began = self._under_way.pop(event.id, None)
        if began is None:  # it is of a load that was given up
            return
        (due, sent_ns), ended_ns, error = began, now_ns(), event.error if isinstance(event, Failed) else None
        if error is None:
            self._pace.flow.latency.append(ended_ns - due)
        else:
            self._pace.flow.fail(error, ended_ns - due)
        if self._watch is not None:
            self._watch(Ended(sent_ns, ended_ns, error))

    def _sleep(self, due: int | None) -> None:
        if due is None or len(self._under_way) >= self._load.outstanding:
            self._caller.sleep(LONGEST_SLEEP_S)
        elif (left_ns := due - now_ns() - SPIN_NS) > 0:
            self._caller.sleep(min(left_ns / 1e9, LONGEST_SLEEP_S))
