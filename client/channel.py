"""One thread's own connection: sends a call and waits for its answers, with no other thread and no lock."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from typing import TypeAlias

import zmq

from maitred.client.calls import Answer, Call
from maitred.client.link import Link
from maitred.client.origin import Origin
from maitred.protocol.client import Question
from maitred.transport.wake import Wake

__all__ = ["Answers", "Channel"]

Answers: TypeAlias = deque[Answer]
"""What came for one request and was not taken yet."""


class Channel(Link):
    """See `Link` for the arguments.

    Attributes:
        busy: whether its thread is in here; another one must not close it then.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, origin: Origin, closing: Wake) -> None:
        super().__init__(context, endpoint, origin, closing, at_once=1)
        self.busy = True
        self._left: deque[int] = deque()

    def __del__(self) -> None:
        # Its thread has ended, or its client is gone. Where it was not even made, nothing is there to close.
        with contextlib.suppress(AttributeError):
            self.close()

    def send(self, call: Call, request_id: int, connect_timeout: float) -> Answers:
        """Send a call; what comes for it is appended to the result.

        Raises:
            PayloadTooLarge: it is over the broker's limit.
            Unavailable: the broker is not there to take it; it was not sent.
            Unauthenticated: the broker does not let this process in any more; it was not sent.
        """
        now = time.monotonic()
        answers: Answers = deque()
        self.exchange.request(call, request_id, answers.append, now)
        self._await_room(request_id, now + call.patience(now, connect_timeout))
        return answers

    def ask(self, message: Question, until: float) -> Answers:
        """Ask the broker itself for something."""
        answers: Answers = deque()
        self.exchange.ask(message, answers.append, time.monotonic())
        self._await_room(message.id, until)
        return answers

    def next_answer(self, answers: Answers) -> Answer:
        """Wait for the next one. It comes: at the latest when the call has expired."""
        while not answers:
            self.wait()
            self.check_open()
        return answers.popleft()

    def rest(self, until: float) -> None:
        """Let time pass; heartbeats of other requests go on."""
        while self.wait(until):
            self.check_open()

    def grant(self, request_id: int, parts: int) -> None:
        """Allow so many parts more."""
        self.connection.grant(request_id, parts)
        self.flush()

    def abandon(self, request_id: int) -> None:
        """Have a request stopped and forget it, if it has not ended."""
        if self.exchange.abandon(request_id) and self.intact:
            self.flush()

    def close_unless_busy(self) -> bool:
        """Close it for its thread, which is not in here; False where it is, and closes it itself."""
        if not self.busy:
            self.close()
        return not self.busy

    def in_use(self) -> bool:
        """Whether the caller must keep out: another thread's or process's, or this thread is in here already."""
        return self.busy or self.thread != threading.get_ident() or self.pid != os.getpid()

    def abandon_later(self, request_id: int) -> None:
        """Have it done by whoever may; from anywhere."""
        self._left.append(request_id)

    def abandon_left(self) -> None:
        """Do what `abandon_later` left."""
        while self._left:
            self.abandon(self._left.popleft())

    def _await_room(self, request_id: int, until: float) -> None:
        while not self.flush():
            if self.refused or not self.wait(until):
                if not self.exchange.withdraw(request_id):
                    self.exchange.abandon(request_id)
                raise self.not_there()
            self.check_open()
