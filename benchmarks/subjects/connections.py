"""Idle connections by the thousand, as clients make them: maitred's own socket options, a greeting, an answer, and rest.

A `Client` for each would bring two threads of ZeroMQ along with it, so these share a context; to the other end there is
no difference. ZeroMQ's heartbeats go on by themselves.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import zmq

from maitred.benchmarks.subjects.protocol import StartError
from maitred.client.origin import Origin
from maitred.protocol import frames, messages
from maitred.protocol.bundles import opened
from maitred.transport.frames import send_message
from maitred.transport.sockets import connect, dealer

__all__ = ["Connections", "allow_descriptors"]

ANSWER_TIMEOUT_MS = 10_000
"""Within this each greeting has to be answered."""

AT_ONCE = 16
"""Messages sent before their answers are taken: a quarter of the high-water mark, as libzmq learns of room in halves."""

DESCRIPTORS = 3
"""Of each connection in this process: its TCP socket, its mailbox, and one to spare."""

SPARE_DESCRIPTORS = 500
"""For all else that this process and its children have open."""


class Connections:
    """All of one run, closed together.

    Args:
        endpoint: where to.
        at_most: how many there will be.
        greets: whether they say HELLO and wait for WELCOME; else they send something and wait for anything.
    """

    def __init__(self, endpoint: str, at_most: int, *, greets: bool) -> None:
        self._endpoint, self._greets = endpoint, greets
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, at_most + 1)
        self._sockets: list[zmq.Socket[bytes]] = []

    def open_up_to(self, count: int) -> None:
        """Connect until there are so many, each answered.

        Raises:
            StartError: one was not answered.
        """
        while len(self._sockets) < count:
            socket = dealer(self._context)
            self._sockets.append(socket)
            socket.setsockopt(zmq.RCVTIMEO, ANSWER_TIMEOUT_MS)
            connect(socket, self._endpoint)
            if not socket.poll(ANSWER_TIMEOUT_MS, zmq.POLLOUT):
                raise StartError(f"connection {len(self._sockets)} to {self._endpoint} was not made")
            send_message(socket, self._greeting())
            if not socket.poll(ANSWER_TIMEOUT_MS):
                raise StartError(f"connection {len(self._sockets)} to {self._endpoint} was not answered")
            self._check(socket.recv_multipart())

    def exchange(self, connections: int, times: int) -> None:
        """Have the first of them say something and be answered, so often."""
        word = frames.encode(messages.Heartbeat()) if self._greets else [b""]
        for socket in self._sockets[:connections]:
            for begun in range(0, times, AT_ONCE):
                at_once = min(AT_ONCE, times - begun)
                for _ in range(at_once):
                    send_message(socket, word)
                answers = 0
                while answers < at_once:
                    answers += len(opened(socket.recv_multipart()) or [b""])

    def close(self) -> None:
        """End them in good order. Repeatable."""
        for socket in self._sockets:
            if self._greets:
                send_message(socket, frames.encode(messages.Bye()))
            socket.close()
        self._sockets.clear()
        self._context.term()

    def _greeting(self) -> Sequence[bytes]:
        if not self._greets:
            return [b""]
        conversation = Origin().connection(self._endpoint, None)
        conversation.start(time.monotonic())
        return conversation.outgoing[0]

    def _check(self, answer: Sequence[bytes]) -> None:
        if self._greets and not isinstance(frames.to_client.decode(answer)[0], messages.Welcome):
            raise StartError(f"connection {len(self._sockets)} to {self._endpoint} was not welcomed")


def allow_descriptors(connections: int) -> bool:
    """Have this process, and those it starts from now on, open enough files for so many; whether they may."""
    if sys.platform == "win32":
        return False
    import resource

    needed = connections * DESCRIPTORS + SPARE_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= needed or soft == resource.RLIM_INFINITY:
        return True
    if hard != resource.RLIM_INFINITY and hard < needed:
        return False
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    return True
