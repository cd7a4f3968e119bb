"""One DEALER of one thread: sends a request and waits for its events, with no other thread and no lock.

Waiting is a poll of the socket; the protocol's half says how long it may last, and what to send meanwhile.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import zmq

from maitred.client.errors import MaitredError, Unavailable
from maitred.protocol import messages
from maitred.protocol.client import ClientConnection, Event, Failed, PartArrived, Replied
from maitred.transport.endpoints import connect
from maitred.transport.errors import WouldBlock
from maitred.transport.frames import Inbox, TooManyFrames, send_message
from maitred.transport.sockets import dealer

CLOSE_LINGER_MS = 200
"""How long a BYE or a last CANCEL may take to leave when a channel is closed."""


class Channel:
    """A connection for the thread that made it.

    Args:
        context: the process's ZeroMQ context.
        endpoint: the broker's.
        connection: a fresh protocol half.
        connect_timeout: seconds within which the broker must answer.

    Raises:
        Unavailable: nobody answered at the endpoint in time.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        connection: ClientConnection,
        connect_timeout: float,
    ) -> None:
        self.connection = connection
        self._endpoint = endpoint
        self._events: dict[int, deque[Event]] = {}
        self._socket = dealer(context)
        try:
            connect(self._socket, endpoint)
            self._inbox = Inbox(self._socket)
            self._await_welcome(connect_timeout)
        except BaseException:
            self._socket.close(linger=0)
            raise

    def close(self) -> None:
        """Leave; requests still waited for are given up by the broker. Repeatable."""
        if not self._socket.closed:
            self.connection.bye()
            with contextlib.suppress(MaitredError):  # nobody may be there to be told
                self._flush(time.monotonic())
            self._socket.close(linger=CLOSE_LINGER_MS)

    def request(self, message: messages.Request, body: Sequence[Any], deadline: float) -> None:
        """Send a request; its events are `next_event`'s. `deadline` bounds the sending, in monotonic seconds."""
        self.connection.request(message, body, time.monotonic())
        self._expect(message.id, deadline)

    def query(self, request_id: int, what: str, deadline: float) -> None:
        """Send a query."""
        self.connection.query(request_id, what, time.monotonic())
        self._expect(request_id, deadline)

    def grant(self, request_id: int, parts: int) -> None:
        """Allow so many parts more."""
        self.connection.grant(request_id, parts)
        self._flush(time.monotonic() + 1.0)

    def abandon(self, request_id: int) -> None:
        """Have a request stopped and forget it."""
        if self._events.pop(request_id, None) is not None:
            self.connection.abandon(request_id)
            with contextlib.suppress(MaitredError):  # then the broker finds out by itself
                self._flush(time.monotonic())

    def next_event(self, request_id: int, deadline: float | None) -> PartArrived | Replied | Failed | None:
        """Wait for the next event of a request; None when the deadline passes first."""
        events = self._events[request_id]
        while not events:
            if not self._wait(deadline):
                return None
        event = events.popleft()
        if isinstance(event, Replied | Failed):
            del self._events[request_id]
        assert isinstance(event, PartArrived | Replied | Failed)
        return event

    # --- below: bytes and time ---

    def _expect(self, request_id: int, deadline: float) -> None:
        self._events[request_id] = deque()
        try:
            self._flush(deadline)
        except BaseException:
            self._events.pop(request_id, None)
            self.connection.abandon(request_id)
            self.connection.outgoing.clear()
            raise

    def _await_welcome(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        if not self._socket.poll(int(timeout * 1000), zmq.POLLOUT):
            raise self._nobody(timeout)
        self.connection.start(time.monotonic())
        while self.connection.welcome is None:
            if not self._wait(deadline):
                raise self._nobody(timeout)

    def _nobody(self, timeout: float) -> Unavailable:
        text = f"no broker answered at {self._endpoint} within {timeout:g} s"
        return Unavailable(text, reason="no_broker", address=self._endpoint)

    def _wait(self, deadline: float | None) -> bool:
        """Let time pass until a message came or something was due; False when the deadline passed first."""
        now = time.monotonic()
        if deadline is not None and now >= deadline:
            return False
        for event in self.connection.tick(now):
            self._file(event)
        self._flush(now)
        due = [at for at in (deadline, self.connection.next_deadline()) if at is not None]
        pause_ms = max(0.0, min(due) - now) * 1000 if due else None
        if self._socket.poll(None if pause_ms is None else int(pause_ms) + 1):
            self._receive(time.monotonic())
        return True

    def _receive(self, now: float) -> None:
        message = self._inbox.receive()
        if message is not None and not isinstance(message, TooManyFrames):
            for event in self.connection.receive(message, now):
                self._file(event)

    def _file(self, event: Event) -> None:
        if isinstance(event, PartArrived | Replied | Failed):
            events = self._events.get(event.id)
            if events is not None:
                events.append(event)

    def _flush(self, deadline: float) -> None:
        outgoing = self.connection.outgoing
        while outgoing:
            try:
                send_message(self._socket, outgoing[0])
            except WouldBlock:
                self._wait_writable(deadline)
            else:
                outgoing.pop(0)

    def _wait_writable(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0 or not self._socket.poll(int(left * 1000) + 1, zmq.POLLOUT):
            self.connection.outgoing.clear()
            text = f"the broker at {self._endpoint} is not there, or takes nothing more"
            raise Unavailable(text, reason="no_broker", address=self._endpoint)
