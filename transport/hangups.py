"""Tells at once whose connection to a ROUTER has ended: a process that was killed is gone within some milliseconds.

libzmq has no call for it. Its monitor says which descriptor was closed, and each message which one it came by, so the two
are put together. A descriptor's number is used again by the next connection: what the monitor has said until now is read
before a number is noted, as libzmq says that a connection has ended before it closes its descriptor.

That works between hosts too; but there a process's end may never be told, and only silence shows it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Generic, TypeVar

import trio
import zmq

from maitred.transport.frames import Inbox

__all__ = ["Hangups"]

P = TypeVar("P")

_EVENT = struct.Struct("=HI")
"""Number and value of an event; the value is the descriptor. Documented with `zmq_socket_monitor`."""


class Hangups(Generic[P]):
    """Watches one ROUTER.

    Args:
        socket: the ROUTER; the monitor is closed by `close`, before or after it.
        on_hangup: called with a peer that was noted, once its connection has ended.
    """

    def __init__(self, socket: zmq.Socket[bytes], on_hangup: Callable[[P], object]) -> None:
        self._monitor = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self._inbox = Inbox(self._monitor)
        self._on_hangup = on_hangup
        self._peers: dict[int, P] = {}

    def note(self, descriptor: int, peer: P) -> None:
        """A peer was heard over the connection of this descriptor (`Inbox.descriptor`)."""
        self._read()
        self._peers[descriptor] = peer

    async def run(self) -> None:
        """Tell of hang-ups until cancelled.

        All is read before it sleeps, so that the descriptor announces whatever comes then.
        """
        descriptor = int(self._monitor.FD)
        while True:
            self._read()
            await trio.lowlevel.wait_readable(descriptor)

    def close(self) -> None:
        """Stop watching. Repeatable."""
        if not self._monitor.closed:
            self._monitor.close(0)

    def _read(self) -> None:
        while True:
            try:
                message = self._inbox.receive()
            except zmq.Again:
                return
            if isinstance(message, list) and isinstance(event := message[0], bytes) and len(event) == _EVENT.size:
                number, value = _EVENT.unpack(event)
                if number == zmq.EVENT_DISCONNECTED and value in self._peers:
                    self._on_hangup(self._peers.pop(value))
