"""What a peer talks to its broker by, where its thread waits for that: one interface, over libzmq or without it.

StreamDealer    no encryption: the thread reads and writes the connection itself
ZmqDealer       CURVE, and wherever MAITRED_TRANSPORT=libzmq says so
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import zmq
from zmq.backend import zmq_poll

from maitred.transport.endpoints import connect
from maitred.transport.frames import Inbox, OutFrame, TooManyFrames, send_message
from maitred.transport.sockets import DEALER_LINGER_MS, dealer
from maitred.transport.stream_dealer import READABLE, ROOM, WOKEN, StreamDealer

__all__ = [
    "READABLE",
    "ROOM",
    "TRANSPORT",
    "WOKEN",
    "Dealer",
    "ZmqDealer",
    "connected_dealer",
    "is_direct",
    "open_dealer",
]

TRANSPORT = "MAITRED_TRANSPORT"
"""The environment variable: "libzmq" has that do everything; "direct" is the default."""

_POLLIN, _POLLOUT = int(zmq.POLLIN), int(zmq.POLLOUT)  # the enumeration's own `&` takes 3 µs


class Dealer(Protocol):
    """See `StreamDealer` for what each one does."""

    def receive(self) -> list[Any] | TooManyFrames | None:
        """Take one message; None: nothing is there."""
        ...

    def send(self, frames: Sequence[OutFrame]) -> None:
        """Send one message whole, or raise `WouldBlock`."""
        ...

    def has_message(self) -> bool:
        """Whether one is there, or may be."""
        ...

    def wait(self, timeout_s: float | None, *, for_room: bool = False) -> int:
        """Sleep until something is there: READABLE, ROOM, WOKEN."""
        ...

    def also_wake(self, wake: int) -> None:
        """Have a wait end when this descriptor is readable, too."""
        ...

    def close(self, linger_s: float = 0.0) -> None:
        """Close it."""
        ...


class ZmqDealer:
    """A DEALER of libzmq, connected, which it owns from here on."""

    def __init__(self, socket: zmq.Socket[bytes], wakes: Sequence[int] = ()) -> None:
        self._socket = socket
        self._inbox = Inbox(socket)
        self._look = [(socket, _POLLIN)]
        self._reading, self._both = zmq.Poller(), zmq.Poller()
        self._reading.register(socket, zmq.POLLIN)
        self._both.register(socket, zmq.POLLIN | zmq.POLLOUT)
        for wake in wakes:
            self.also_wake(wake)

    def also_wake(self, wake: int) -> None:
        """As in `Dealer`."""
        for poller in (self._reading, self._both):
            poller.register(wake, zmq.POLLIN)

    def receive(self) -> list[Any] | TooManyFrames | None:
        """As in `Dealer`."""
        try:
            return self._inbox.receive()
        except zmq.Again:
            return None

    def send(self, frames: Sequence[OutFrame]) -> None:
        """As in `Dealer`."""
        send_message(self._socket, frames)

    def has_message(self) -> bool:
        """As in `Dealer`."""
        return bool(zmq_poll(self._look, 0))

    def wait(self, timeout_s: float | None, *, for_room: bool = False) -> int:
        """As in `Dealer`."""
        poller = self._both if for_room else self._reading
        meaning = 0
        for which, flags in poller.poll(None if timeout_s is None else math.ceil(timeout_s * 1000)):
            if which is not self._socket:
                meaning |= WOKEN
            else:
                meaning |= (READABLE if flags & _POLLIN else 0) | (ROOM if flags & _POLLOUT else 0)
        return meaning

    def close(self, linger_s: float = 0.0) -> None:
        """As in `Dealer`."""
        self._socket.close(linger=int(linger_s * 1000))


def open_dealer(
    endpoint: str, make_context: Callable[[], zmq.Context[zmq.Socket[bytes]]], wakes: Sequence[int] = ()
) -> Dealer:
    """Begin to connect; an absent broker is no error.

    Args:
        endpoint: the broker's.
        make_context: gives the process's context, which is needed for libzmq only.
        wakes: descriptors that end a wait.

    Raises:
        ConnectError: the endpoint itself is wrong.
        ValueError: $MAITRED_TRANSPORT says something else than "direct" or "libzmq".
    """
    if is_direct(endpoint):
        return StreamDealer(endpoint, wakes)
    return ZmqDealer(connected_dealer(endpoint, make_context, DEALER_LINGER_MS), wakes)


def is_direct(endpoint: str) -> bool:
    """Whether an endpoint is talked to without libzmq.

    Raises:
        ValueError: $MAITRED_TRANSPORT says something else than "direct" or "libzmq".
    """
    wanted = os.environ.get(TRANSPORT, "direct")
    if wanted not in ("direct", "libzmq"):
        raise ValueError(f"{TRANSPORT} is {wanted!r}; accepted: direct, libzmq")
    return wanted == "direct" and endpoint.startswith(("tcp://", "ipc://"))


def connected_dealer(
    endpoint: str, make_context: Callable[[], zmq.Context[zmq.Socket[bytes]]], linger_ms: int
) -> zmq.Socket[bytes]:
    """A DEALER of libzmq that has begun to connect; raises as `open_dealer` does."""
    socket = dealer(make_context(), linger_ms=linger_ms)
    try:
        connect(socket, endpoint)
    except BaseException:
        socket.close(0)
        raise
    return socket
