"""One file descriptor that says that any of several ZeroMQ sockets may have something to do, or that someone kicked.

The sockets' descriptors and the reading end of a pipe are put into one epoll (Linux) or kqueue (macOS) object, whose
own descriptor an event loop can wait for. It says only "look": each socket's EVENTS must be read afterwards, because a
ZeroMQ descriptor is edge-triggered in disguise. Knows no event loop.

Measured, round trip over loopback TCP with one message per wake-up, medians of 5 × 3,000, interleaved: the bare
descriptor of one socket 90.0 µs, one socket in an epoll 91.6 µs, two in an epoll 90.9 µs, a waiting task for each of two
sockets and one owner 92.3 µs. A wake-up of trio costs 6.8 µs bare and 7.1 µs nested. So the nesting is in the noise, and
there is one task to reason about rather than three.
"""

from __future__ import annotations

import os
import selectors
import sys
from collections.abc import Iterable
from contextlib import suppress

__all__ = ["Readiness"]

if sys.platform == "linux":
    _Selector = selectors.EpollSelector
else:
    _Selector = selectors.KqueueSelector


class Readiness:
    """Waitable through `fileno()`; `kick()` makes it readable from any thread or signal handler."""

    def __init__(self, descriptors: Iterable[int]) -> None:
        self._selector = _Selector()
        self._kick_in, self._kick_out = os.pipe()
        os.set_blocking(self._kick_in, False)
        os.set_blocking(self._kick_out, False)
        self._kicked = False
        self._closed = False
        for descriptor in (*descriptors, self._kick_in):
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
        with suppress(BlockingIOError, OSError):  # a full pipe is a kick already; a closed one has no one to wake
            os.write(self._kick_out, b"k")

    def clear(self) -> None:
        """Forget the kick. Call it before looking at the sockets."""
        if not self._kicked:
            return
        with suppress(BlockingIOError):
            os.read(self._kick_in, 64)
        # Last: a kick that comes between the read and this line finds the flag set and writes nothing, and is answered
        # by the look at the sockets that follows. The other way round, its byte would be read and its flag would stay.
        self._kicked = False

    def close(self) -> None:
        """Free the descriptors. The loop must have been told before (`notify_closing`). Safe to repeat."""
        if self._closed:
            return
        self._closed = True
        self._selector.close()
        os.close(self._kick_in)
        os.close(self._kick_out)
