"""Who is connected to a ROUTER just now: from which address, how many, who has hung up, and whom to cut off.

libzmq has no call for any of it. Its monitor says which descriptor was accepted and which was closed, and each message
which one it came by; the rest is asked of the descriptor itself. A descriptor's number is used again by the next
connection: what the monitor has said until now is read before a number is gone by, as libzmq says that a connection has
ended before it closes its descriptor. Where that is not enough, the number of the socket in the kernel (its inode) is
compared, which is not used again for long.

A listener that is closed takes its connections along, without a word about them: `audit` finds those out.

That somebody has hung up is told of a process that was killed within some milliseconds; between hosts it may never be
told, and only silence shows it.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import socket as sockets
import struct
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, Generic, TypeVar, cast

import trio
import zmq

__all__ = ["LOCAL_ADDRESS", "Connection", "Connections"]

P = TypeVar("P")

LOCAL_ADDRESS = "localhost"
"""What every peer over `ipc://` has for an address."""

UNKNOWN_ADDRESS = ""
"""Of a connection that was closed before it could be asked."""

PORTION = 256
"""Events read before other tasks run, about a millisecond: whoever connects a thousand times must not stop the broker."""

EVENTS = (
    zmq.EVENT_ACCEPTED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)

HANDSHAKES: dict[int, str] = {
    int(zmq.EVENT_HANDSHAKE_SUCCEEDED): "succeeded",
    int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL): "broken_off",
    int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL): "wrong_protocol",
    int(zmq.EVENT_HANDSHAKE_FAILED_AUTH): "refused",
}

_ACCEPTED, _DISCONNECTED, _CLOSED = (int(it) for it in (zmq.EVENT_ACCEPTED, zmq.EVENT_DISCONNECTED, zmq.EVENT_CLOSED))

_EVENT = struct.Struct("=HI")
"""Number and value of an event; the value is the descriptor. Documented with `zmq_socket_monitor`."""

_numbers = itertools.count()

_NOBLOCK = int(zmq.NOBLOCK)

_BYTES_RECEIVED = struct.Struct("=Q")
_BYTES_RECEIVED_AT = 128
"""`tcpi_bytes_received` in Linux's `struct tcp_info`, since 4.1; the structure only ever grows at its end."""

_WAITING = struct.Struct("=i")
_FIONREAD = 0x541B if sys.platform == "linux" else 0x4004667F


class Connection(Generic[P]):
    """One connection that was accepted.

    Attributes:
        descriptor: libzmq's; never to be closed, read or written by anybody else.
        address: of the other end: an IP address, LOCAL_ADDRESS, or "" where it was gone before it was asked.
        peer: who was noted to speak by it; None: nobody.
        number: the later it was found accepted in this process, the higher; on one socket the order of acceptance.
    """

    __slots__ = ("_inode", "_seen_waiting", "address", "descriptor", "number", "peer")

    def __init__(self, descriptor: int) -> None:
        self.number = next(_numbers)
        self.descriptor = descriptor
        self.peer: P | None = None
        self._seen_waiting = 0
        self.address, self._inode = _asked(descriptor)

    def is_open(self) -> bool:
        """Whether the descriptor is still that connection's."""
        try:
            return os.fstat(self.descriptor).st_ino == self._inode
        except OSError:
            return False

    @property
    def counted(self) -> bool:
        """Whether somebody counts what comes by it: then `received` is all of it."""
        return sys.platform == "linux" and self.address != LOCAL_ADDRESS

    def received(self) -> int:
        """Bytes that have come by it: all of them on TCP under Linux.

        Elsewhere nobody counts them; there it is the sum of what was found waiting each time this was asked, which is
        less, but grows for who sends without end.
        """
        with contextlib.suppress(OSError), self._borrowed() as socket:
            if sys.platform == "linux" and socket.family in (sockets.AF_INET, sockets.AF_INET6):
                info = socket.getsockopt(sockets.IPPROTO_TCP, sockets.TCP_INFO, 256)
                if len(info) >= _BYTES_RECEIVED_AT + _BYTES_RECEIVED.size:
                    return int(_BYTES_RECEIVED.unpack_from(info, _BYTES_RECEIVED_AT)[0])
            self._seen_waiting += _waiting(socket)
        return self._seen_waiting

    def cut(self) -> bool:
        """End it: libzmq drops what it has of an unfinished message. False: it has ended already."""
        with contextlib.suppress(OSError), self._borrowed() as socket:
            socket.shutdown(sockets.SHUT_RDWR)
            return True
        return False

    @contextlib.contextmanager
    def _borrowed(self) -> Generator[sockets.socket]:
        """A descriptor of our own for the same connection, so that it cannot become another one's meanwhile.

        Raises:
            OSError: it is closed.
        """
        with sockets.socket(fileno=os.dup(self.descriptor)) as socket:
            if os.fstat(socket.fileno()).st_ino != self._inode:
                raise OSError("the descriptor is another connection's by now")
            yield socket


class Connections(Generic[P]):
    """Watches one ROUTER. To be made before the socket is bound: who came earlier is not known of.

    Args:
        socket: the ROUTER; the monitor is closed by `close`, before or after it.

    Attributes:
        on_hangup: called with a peer that was noted, once its connection has ended.
        handshakes: how many succeeded, were broken off, of a wrong protocol, or refused.
        listeners_closed: how many endpoints were listened at, and are not any more.
    """

    def __init__(self, socket: zmq.Socket[bytes], on_hangup: Callable[[P], object] = lambda _: None) -> None:
        self.on_hangup = on_hangup
        self.handshakes: Counter[str] = Counter()
        self.listeners_closed = 0
        self._open: dict[int, Connection[P]] = {}
        self._addresses: Counter[str] = Counter()
        self._to_audit: list[int] = []
        self._socket = socket
        self._monitor = _monitor(socket)

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Connection[P]]:
        """All of them as they are now, the oldest first."""
        return iter(list(self._open.values()))

    def at(self, address: str) -> int:
        """How many there are from an address."""
        return self._addresses.get(address, 0)

    def addresses(self) -> Mapping[str, int]:
        """How many there are from each."""
        return self._addresses

    def note(self, descriptor: int, peer: P) -> None:
        """A peer was heard over the connection of this descriptor (`Inbox.descriptor`)."""
        self.read()
        connection = self._open.get(descriptor)
        if connection is None:  # accepted before this was made
            connection = self._add(descriptor)
        connection.peer = peer

    async def run(self) -> None:
        """Take in what happens until cancelled.

        All is read before it sleeps, so that the descriptor announces whatever comes then.
        """
        descriptor = int(self._monitor.FD)
        while True:
            while self._read_portion():
                await trio.lowlevel.checkpoint()
            await trio.lowlevel.wait_readable(descriptor)

    def read(self) -> None:
        """Take in what has happened until now."""
        while self._read_portion():
            pass

    def audit(self, most: int) -> None:
        """Look at some of the connections in turn, and tell of those that have ended without a word."""
        if not self._to_audit:
            self._to_audit = list(self._open)
        asked, self._to_audit = self._to_audit[:most], self._to_audit[most:]
        for descriptor in asked:
            connection = self._open.get(descriptor)
            if connection is not None and not connection.is_open():
                self._end(descriptor)

    def close(self) -> None:
        """Stop watching. Repeatable."""
        if not self._monitor.closed:
            with contextlib.suppress(zmq.ZMQError):  # the ROUTER is closed
                self._socket.monitor(None, 0)  # pyright: ignore[reportArgumentType]
            self._monitor.close(0)

    def _read_portion(self) -> bool:
        """Read some events; whether there may be more."""
        if self._monitor.closed:
            return False
        receive: Any = self._monitor.recv_multipart
        for _ in range(PORTION):
            try:
                event, *_ = receive(_NOBLOCK)
            except zmq.Again:
                return False
            if len(event) == _EVENT.size:
                self._happened(*_EVENT.unpack(event))
        return True

    def _happened(self, number: int, value: int) -> None:
        if number == _ACCEPTED:
            self._end(value)  # whose end was not told
            self._add(value)
        elif number == _DISCONNECTED:
            self._end(value)
        elif number == _CLOSED:
            self.listeners_closed += 1
        elif number in HANDSHAKES:
            self.handshakes[HANDSHAKES[number]] += 1

    def _add(self, descriptor: int) -> Connection[P]:
        connection: Connection[P] = Connection(descriptor)
        self._open[descriptor] = connection
        self._addresses[connection.address] += 1
        return connection

    def _end(self, descriptor: int) -> None:
        connection = self._open.pop(descriptor, None)
        if connection is None:
            return
        self._addresses[connection.address] -= 1
        if not self._addresses[connection.address]:
            del self._addresses[connection.address]
        if connection.peer is not None:
            self.on_hangup(connection.peer)


def _monitor(socket: zmq.Socket[bytes]) -> zmq.Socket[bytes]:
    """The other end of a monitor. Its queue has no bound: libzmq's own thread would wait for room in it, for ever."""
    address = f"inproc://monitor-{socket.fd}-{id(socket):x}"
    socket.monitor(address, int(EVENTS))
    pair: zmq.Socket[bytes] = cast("Any", socket).context.socket(zmq.PAIR)
    pair.setsockopt(zmq.RCVHWM, 0)
    pair.setsockopt(zmq.LINGER, 0)
    pair.connect(address)
    return pair


def _asked(descriptor: int) -> tuple[str, int]:
    """Address of the other end, and the socket's number in the kernel."""
    try:
        with sockets.socket(fileno=os.dup(descriptor)) as socket:
            inode = os.fstat(socket.fileno()).st_ino
            if socket.family == sockets.AF_UNIX:
                return LOCAL_ADDRESS, inode
            return str(socket.getpeername()[0]), inode
    except OSError:
        return UNKNOWN_ADDRESS, -1


def _waiting(socket: sockets.socket) -> int:
    """Bytes that have arrived and are not read yet."""
    return int(_WAITING.unpack(fcntl.ioctl(socket.fileno(), _FIONREAD, bytes(_WAITING.size)))[0])
