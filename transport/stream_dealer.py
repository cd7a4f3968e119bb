"""A DEALER without a thread: one connection that its user's own thread reads and writes. Imports no event loop.

It does what a DEALER of libzmq does that is set as `sockets.dealer` sets it: queues for a completed connection only
(IMMEDIATE), connects again by itself after a pause that doubles and is drawn at random, and cuts a peer that breaks the
protocol. What it does better: what has arrived whole is not lost when the connection ends.

A message that the kernel took a part of is finished before anything else is sent, so there is never more than one unsent.
"""

from __future__ import annotations

import errno
import math
import random
import re
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from maitred.transport.endpoints import check_target
from maitred.transport.errors import ConnectError, SocketClosed, WouldBlock
from maitred.transport.frames import DEFAULT_MAX_FRAMES, OutFrame, TooManyFrames
from maitred.transport.sockets import (
    CONNECT_TIMEOUT_MS,
    DEALER_MAX_FRAME_BYTES,
    HANDSHAKE_TIMEOUT_MS,
    KEEPALIVE_IDLE_S,
    KEEPALIVE_INTERVAL_S,
    KEEPALIVE_PROBES,
    RECONNECT_FIRST_MS,
    RECONNECT_LIMIT_MS,
)
from maitred.transport.zmtp import (
    GREETING,
    VERSION_ENDS,
    Conversation,
    HandshakeRefused,
    ZmtpError,
    encode,
    mechanism_of,
)

__all__ = ["READABLE", "ROOM", "WOKEN", "StreamDealer", "mechanism_at"]

READABLE, ROOM, WOKEN = 1, 2, 4
"""What ended a wait: a message is there, one can be sent, a descriptor of the caller's is readable."""

READ_BYTES = 64 * 1024
"""Taken from the kernel in one call: a bundle, or some hundred small messages."""

QUIET_S = 200e-6
"""Whoever has heard nothing for so long looks, before it sends, whether the other end is still there. One call after the
other is far below it, and does not pay for the look."""

LATER = "300"
"""Of ZAP (RFC 27): the status of who may come another time."""

LOOKS = 16
"""Reads of 64 KiB in that look: more than whoever is quiet was sent."""

UNACKNOWLEDGED_MS = 30_000
"""TCP: what was sent and is not acknowledged for so long ends the connection; the kernel itself tries for a quarter of an
hour. Keep-alive does not count while something is under way."""

_TCP = re.compile(r"tcp://(?:\[(?P<six>[^\]]+)\]|(?P<host>[^:\[\]]+)):(?P<port>\d+)")
_NOW = int(socket.MSG_DONTWAIT)
_SEND = _NOW | int(getattr(socket, "MSG_NOSIGNAL", 0))
_IN, _OUT = select.POLLIN, select.POLLOUT


class StreamDealer:
    """One connection, for the thread that made it.

    Args:
        endpoint: `tcp://host:port` or `ipc://path`; it need not be there yet.
        wakes: descriptors that end a wait, besides.
        max_frame_bytes: a broker that sends a larger frame is cut off.
        max_frames: frames in one message; of a longer one `TooManyFrames` tells.
        before_close: called with the descriptor of a connection that is about to be closed.

    Attributes:
        refused: why the other end did not want this peer, at the last handshake: the status that it gave, "mechanism" where
            it asks for keys, "nonsense" where it is no peer of this protocol; "" where it did, or was not there.
        hung_up: how often it has hung up amid the handshake since one that succeeded, or said that it may be tried later.

    Raises:
        ConnectError: the endpoint can never be connected to.
    """

    def __init__(
        self,
        endpoint: str,
        wakes: Sequence[int] = (),
        *,
        max_frame_bytes: int = DEALER_MAX_FRAME_BYTES,
        max_frames: int = DEFAULT_MAX_FRAMES,
        before_close: Callable[[int], object] = lambda _: None,
    ) -> None:
        self.refused = ""
        self.hung_up = 0
        self._before_close = before_close
        self._target = _parse(endpoint)
        self._limits = (max_frame_bytes, max_frames)
        self._arrived: deque[list[Any] | TooManyFrames] = deque()
        self._talk = Conversation(*self._limits, self._arrived)
        self._socket: socket.socket | None = None
        self._ready = False  # a message can be sent
        self._connecting = False
        self._whole = True  # no call was left in its middle
        self._closed = False
        self._heard_at = -math.inf
        self._unsent: list[memoryview] = []
        self._poll = select.poll()
        self._watched = 0  # what is polled for of the socket
        for wake in wakes:
            self._poll.register(wake, _IN)
        draw = random.SystemRandom()  # not the shared generator: forked workers would all draw the same
        self._first_pause_s = draw.randint(*RECONNECT_FIRST_MS) / 1000
        self._longest_pause_s = draw.randint(*RECONNECT_LIMIT_MS) / 1000
        self._pause_s = self._first_pause_s
        self._due = -math.inf  # when to connect, or when to give this attempt up

    def also_wake(self, wake: int) -> None:
        """Have a wait end when this descriptor is readable, too."""
        self._poll.register(wake, _IN)

    def fileno(self) -> int:
        """The connection's descriptor; -1: there is none just now."""
        return -1 if self._socket is None else self._socket.fileno()

    # --- messages ---

    def receive(self) -> list[Any] | TooManyFrames | None:
        """Take one message; None: nothing has come. Never blocks."""
        arrived = self._arrived
        if arrived:
            return arrived.popleft()
        while self._ready and self._read():
            if arrived:
                return arrived.popleft()
        return None

    def send(self, frames: Sequence[OutFrame]) -> None:
        """Send one message whole, without blocking; buffers that are not `bytes` or frames may change afterwards.

        Raises:
            WouldBlock: nobody is connected, or an earlier message is not out yet: nothing was sent.
            SocketClosed: it is closed.
        """
        if self._ready and self._whole and time.monotonic() - self._heard_at > QUIET_S:
            # Who was idle has not heard yet that the other end is gone, and the kernel would take it all the same. The end
            # stands behind what came before it, a BYE as a rule.
            for _ in range(LOOKS):
                if not (self._ready and self._read()):
                    break
        if not self._ready or self._unsent or not self._whole:
            self._make_ready()
        stream = self._socket
        assert stream is not None
        buffers = encode(frames)
        self._whole = False
        try:
            if len(buffers) == 1:
                sent = stream.send(buffers[0], _SEND)
            else:
                sent = stream.sendmsg([_view(each) for each in buffers], (), _SEND)
        except BlockingIOError:
            self._whole = True
            raise WouldBlock("the other end does not read") from None
        except OSError as error:
            self._drop()
            raise WouldBlock(f"the connection has ended: {error.strerror}") from None
        if sent < sum(map(_size, buffers)):
            self._unsent = _rest(buffers, sent)
        self._whole = True

    def _make_ready(self) -> None:
        if self._closed:
            raise SocketClosed("the socket is closed")
        self._mend()
        if self._unsent:
            self._flush()
        if not self._ready or self._unsent:
            raise WouldBlock("nobody is connected" if not self._ready else "the other end does not read")

    def has_message(self) -> bool:
        """Whether one is there, or may be. Never blocks."""
        if self._arrived:
            return True
        return self._ready and bool(self._watch(_IN).poll(0))

    # --- waiting ---

    def wait(self, timeout_s: float | None, *, for_room: bool = False) -> int:
        """Sleep until something is there, or the time is over; connects meanwhile. A signal's handler may raise out of it.

        Args:
            timeout_s: None: as long as it takes.
            for_room: whether to end once a message can be sent, too.

        Returns:
            A combination of READABLE, ROOM and WOKEN; 0: the time is over.
        """
        if self._arrived:
            return READABLE
        if self._ready and not self._unsent and not for_room:  # nearly always
            found = self._watch(_IN).poll(None if timeout_s is None else timeout_s * 1000)
            return self._meaning(found) if found else 0
        return self._wait_and_mend(math.inf if timeout_s is None else time.monotonic() + timeout_s, for_room)

    def _wait_and_mend(self, until: float, for_room: bool) -> int:
        while True:
            wanted, due = self.mend()
            if for_room and self.has_room:
                return ROOM
            end = min(until, due)
            found = self._watch(wanted).poll(None if end == math.inf else max(0.0, end - time.monotonic()) * 1000)
            if found and (meaning := self._meaning(found)):
                return meaning
            if time.monotonic() >= until:
                return 0

    def _watch(self, wanted: int) -> select.poll:
        stream = self._socket
        if stream is not None and wanted != self._watched:
            self._poll.register(stream, wanted)
            self._watched = wanted
        return self._poll

    def _meaning(self, found: list[tuple[int, int]]) -> int:
        """What a poll's result means to the caller; what concerns the connection alone is done."""
        own = self.fileno()
        meaning = 0
        for descriptor, events in found:
            if descriptor != own:
                meaning |= WOKEN
            elif self._ready and not events & _OUT:
                meaning |= READABLE
            else:
                self.progress(events)
                meaning |= READABLE if self._arrived else 0
        return meaning

    # --- for an event loop, which waits itself: mend, wait for what it says, progress ---

    @property
    def has_room(self) -> bool:
        """Whether a message can be sent, as far as is known."""
        return self._ready and not self._unsent

    @property
    def has_arrived(self) -> bool:
        """Whether a message is there that was taken from the kernel already: its descriptor does not tell of that."""
        return bool(self._arrived)

    @property
    def connected(self) -> bool:
        """Whether both sides have introduced themselves."""
        return self._ready

    def mend(self) -> tuple[int, float]:
        """See to it that there is a connection, or an attempt at one.

        Returns:
            What to wait for (POLLIN, POLLOUT) of `fileno()`, where there is one, and until when (monotonic seconds).
        """
        self._mend()
        if self._connecting:
            return _OUT, self._due
        wanted = _IN | (_OUT if self._unsent or self._talk.answers else 0)
        return wanted, math.inf if self._ready else self._due

    def progress(self, events: int) -> None:
        """What was waited for has come: go on with connecting, introducing and sending."""
        if self._connecting:
            self._finish_connecting()
        if events & _OUT:
            self._flush()
        if events & ~_OUT and self._socket is not None and not self._connecting:
            self._read()

    def close(self, linger_s: float = 0.0) -> None:
        """Close it; what the kernel has not taken yet may leave for so long. Repeatable."""
        if self._closed:
            return
        end = time.monotonic() + linger_s
        while self._ready and self._unsent and time.monotonic() < end:
            self.wait(end - time.monotonic(), for_room=True)
        self._drop()
        self._closed = True

    # --- below: the connection ---

    def _mend(self) -> None:
        """See to it that there is a connection, or an attempt at one."""
        if not self._whole:  # an exception came in the middle of a call: nobody knows where the stream stands
            self._drop()
        if self._ready or self._closed:
            return
        now = time.monotonic()
        if now < self._due:
            return
        if self._socket is not None:
            self._drop()
        else:
            self._connect(now)

    def _connect(self, now: float) -> None:
        family, address = self._target
        try:
            if family == socket.AF_UNIX:
                stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            else:
                family, *_, address = socket.getaddrinfo(*address, family=family, type=socket.SOCK_STREAM)[0]
                stream = socket.socket(family, socket.SOCK_STREAM)
                _tune(stream)
        except OSError:
            self._drop()
            return
        self._socket, self._watched = stream, 0
        self._talk = Conversation(*self._limits, self._arrived)
        self._due = now + CONNECT_TIMEOUT_MS / 1000
        self._connecting = True
        stream.setblocking(False)
        error = stream.connect_ex(address)
        if error not in (0, errno.EINPROGRESS, errno.EAGAIN):
            self._drop()
        elif not error:
            self._finish_connecting()

    def _finish_connecting(self) -> None:
        assert self._socket is not None
        if self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._drop()
            return
        self._connecting = False
        self._due = time.monotonic() + HANDSHAKE_TIMEOUT_MS / 1000
        self._flush()

    def _flush(self) -> None:
        """Hand the kernel what it takes of what is begun."""
        answers = self._talk.answers
        if answers and not self._connecting:
            self._unsent += [memoryview(b"".join(answers))]
            answers.clear()
        self._whole = False
        try:
            while self._unsent and self._socket is not None:
                sent = self._socket.sendmsg(self._unsent[:64], (), _SEND)
                self._unsent = _rest(self._unsent, sent)
        except BlockingIOError:
            pass
        except OSError:
            self._drop()
        self._whole = True

    def _read(self) -> bool:
        """Take in what the kernel has; False: nothing, or the connection has ended."""
        stream, talk = self._socket, self._talk
        assert stream is not None
        room = talk.room()
        self._whole = False
        try:
            if room is None:
                data = stream.recv(READ_BYTES, _NOW)
                count = len(data)
                if count:
                    talk.feed(data)
            else:
                count = stream.recv_into(room, 0, _NOW)
                talk.filled(count)
        except BlockingIOError:
            self._whole = True
            return False
        except HandshakeRefused as refusal:
            self.refused = "" if refusal.status == LATER else refusal.status
            count = 0
        except ZmtpError:
            self.refused = self.refused if self._ready else "nonsense"
            count = 0
        except OSError:
            count = 0
        if not count:
            self.hung_up += not self._ready
            self._drop()
            return False
        self._whole = True
        self._heard_at = time.monotonic()
        if talk.answers:
            self._flush()
        if not self._ready and talk.ready and self._socket is not None:
            self._ready = True
            self.refused, self.hung_up = "", 0
            self._pause_s = self._first_pause_s
        return True

    def _drop(self) -> None:
        """There is no connection any more; what was begun is lost, what arrived whole is not.

        The first attempt at another one is made at once: who is told of this end when he wants to send may find the next
        broker there already.
        """
        pause_s = 0.0 if self._ready else self._pause_s
        self._ready = self._connecting = False
        self._whole = True
        self._unsent.clear()
        stream, self._socket = self._socket, None
        if stream is not None:
            if self._watched:
                self._poll.unregister(stream)
            self._before_close(stream.fileno())
            stream.close()
        self._due = time.monotonic() + pause_s
        if pause_s:
            self._pause_s = min(2 * self._pause_s, self._longest_pause_s)


def mechanism_at(endpoint: str, within_s: float) -> str:
    """What whoever listens there asks for ("NULL", "CURVE"), by his greeting alone; "" where he does not say so in time.

    libzmq hangs up on a peer of another mechanism, often before it has said its own: then this tells.
    """
    family, address = _parse(endpoint)
    end, greeting = time.monotonic() + within_s, b""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as stream:
            stream.settimeout(within_s)
            stream.connect(address)
            stream.sendall(GREETING[:VERSION_ENDS])
            while len(greeting) < len(GREETING) and (left := end - time.monotonic()) > 0:
                stream.settimeout(left)
                if not (more := stream.recv(len(GREETING) - len(greeting))):
                    break
                greeting += more
    except OSError:
        return ""
    return mechanism_of(greeting)


def _parse(endpoint: str) -> tuple[int, Any]:
    check_target(endpoint)
    if endpoint.startswith("ipc://"):
        path = endpoint.removeprefix("ipc://")
        return socket.AF_UNIX, f"\0{path[1:]}" if path.startswith("@") else path
    found = _TCP.fullmatch(endpoint)
    if found is None:
        raise ConnectError(
            errno.EPROTONOSUPPORT, f"cannot connect to {endpoint}: it is neither tcp:// nor ipc://", endpoint
        )
    if found["six"]:
        return socket.AF_INET6, (found["six"], int(found["port"]))
    return socket.AF_INET, (found["host"], int(found["port"]))


def _tune(stream: socket.socket) -> None:
    """As `sockets` does for those of libzmq."""
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
        ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_S),
        ("TCP_KEEPCNT", KEEPALIVE_PROBES),
        ("TCP_USER_TIMEOUT", UNACKNOWLEDGED_MS),
    ):
        if hasattr(socket, name):
            stream.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _view(buffer: Any) -> memoryview:
    return memoryview(buffer).cast("B")


def _size(buffer: Any) -> int:
    return buffer.nbytes if isinstance(buffer, memoryview) else len(buffer)


def _rest(buffers: Sequence[Any], sent: int) -> list[memoryview]:
    """What is left of these after so many bytes: views of what cannot change, copies of what can."""
    rest: list[memoryview] = []
    for buffer in buffers:
        size = _size(buffer)
        if sent >= size:
            sent -= size
            continue
        view = _view(buffer)[sent:]
        rest.append(view if view.readonly else memoryview(bytes(view)))
        sent = 0
    return rest
