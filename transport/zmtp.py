"""One side of a ZMTP/3.1 connection without encryption, as bytes in and bytes out: a DEALER that has connected. No I/O.

    greeting 64 bytes each way · READY each way · then frames: flags, length, content      (RFC 37; mechanism NULL, RFC 23)

Why this is here when libzmq does it: libzmq has a thread for its sockets, so that each message of a request wakes two
threads where it would have to wake one, on either side (docs/adr/0014-zmtp-without-a-thread.md has the figures). Encryption
(CURVE), listening and routing stay libzmq's.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence
from typing import Any

from maitred.transport.frames import TooManyFrames

__all__ = [
    "GREETING",
    "READY",
    "VERSION_ENDS",
    "Conversation",
    "HandshakeRefused",
    "ZmtpError",
    "encode",
    "mechanism_of",
]

_MORE, _LONG, _COMMAND = 1, 2, 4
_RESERVED = 0xFF & ~(_MORE | _LONG | _COMMAND)
_LENGTH = struct.Struct(">Q")

GREETING_BYTES = 64
_SIGNATURE = b"\xff" + bytes(7) + b"\x01" + b"\x7f"
VERSION_ENDS = 11
"""Of the greeting, what libzmq waits for before it sends all of its own."""

_MECHANISM_BYTES = 20

GREETING = _SIGNATURE + b"\x03\x01" + b"NULL".ljust(_MECHANISM_BYTES, b"\0") + b"\0" + bytes(31)
"""Says: ZMTP 3.1, no encryption, not the server."""

MAX_COMMAND_BYTES = 4096
"""A command of a peer; its READY takes some fifty."""

KEEP_BYTES = 8192
"""From this size on a frame's content is received into memory of its own; smaller ones are cut out of what came."""


class ZmtpError(Exception):
    """The other end does not speak as it should: the connection is of no use any more."""


class HandshakeRefused(ZmtpError):
    """The other end does not want this peer.

    Attributes:
        status: "400" (it may not come), "300" (not now), or "mechanism": it asks for keys.
    """

    def __init__(self, status: str) -> None:
        self.status = status
        super().__init__(f"the handshake was refused: {status}")


def _property(name: bytes, value: bytes) -> bytes:
    return bytes([len(name)]) + name + struct.pack(">I", len(value)) + value


def _command(name: bytes, content: bytes) -> bytes:
    body = bytes([len(name)]) + name + content
    return bytes([_COMMAND, len(body)]) + body


READY = _command(b"READY", _property(b"Socket-Type", b"DEALER") + _property(b"Identity", b""))
"""What is sent once the greeting has come."""


def encode(frames: Sequence[Any]) -> list[Any]:
    """One message as the buffers to be sent, in order; small frames are joined, large ones are not copied."""
    joined: list[Any] = []
    last = len(frames) - 1
    out: list[Any] = []
    for place, frame in enumerate(frames):
        size = frame.nbytes if type(frame) is memoryview else len(frame)
        flags = _MORE if place < last else 0
        joined.append(bytes((flags, size)) if size < 256 else bytes((flags | _LONG,)) + _LENGTH.pack(size))
        if size < KEEP_BYTES:
            joined.append(frame if type(frame) is bytes else bytes(frame))
        else:
            out += (b"".join(joined), frame)
            joined = []
    if joined:
        out.append(joined[0] if len(joined) == 1 else b"".join(joined))
    return out


class Conversation:
    """What has come over one connection, and what is to be answered.

    Args:
        max_frame_bytes: content of one frame.
        max_frames: frames in one message; of a longer one the rest is thrown away.
        messages: where whole messages go, in order.

    Attributes:
        ready: whether both sides have introduced themselves.
        answers: bytes to be sent: the parts of the handshake, and PONG.
    """

    __slots__ = (
        "_data", "_discarding", "_filled", "_frames", "_greeted", "_large", "_max_frame_bytes", "_max_frames", "_messages",
        "_more", "answers", "ready",
    )  # fmt: skip

    def __init__(self, max_frame_bytes: int, max_frames: int, messages: deque[list[Any] | TooManyFrames]) -> None:
        self.ready = False
        # The rest waits for the other end's: libzmq, told of a mechanism that is not its own, hangs up without a word.
        self.answers: list[bytes] = [GREETING[:VERSION_ENDS]]
        self._greeted = False
        self._data: bytes = b""  # what came and is not cut into frames yet
        self._large: bytearray | None = None  # the content that is being received
        self._filled = 0
        self._more = False  # whether another frame follows that content
        self._frames: list[Any] = []
        self._discarding: TooManyFrames | None = None
        self._messages = messages
        self._max_frame_bytes = max_frame_bytes
        self._max_frames = max_frames

    def room(self) -> memoryview | None:
        """Where the content of a large frame goes; None: nothing large is being received, so `feed` it."""
        return None if self._large is None else memoryview(self._large)[self._filled :]

    def filled(self, count: int) -> None:
        """So many bytes were received into `room`."""
        self._filled += count
        large = self._large
        if large is not None and self._filled == len(large):
            self._large = None
            self._take(memoryview(large).toreadonly(), self._more)

    def feed(self, data: bytes) -> None:
        """Bytes have come.

        Raises:
            ZmtpError: they are not what may come.
        """
        if self._data:
            data = self._data + data
        if not self._greeted:
            if len(data) < GREETING_BYTES and _may_begin(data):
                self._data = data
                return
            self._greet(data)
            data = data[GREETING_BYTES:]
        self._cut(data)

    def _greet(self, data: bytes) -> None:
        if data[:1] != b"\xff" or data[9:10] != b"\x7f" or data[10] < 3:
            raise ZmtpError("the other end does not speak ZMTP/3")
        if mechanism_of(data) != "NULL":
            raise HandshakeRefused("mechanism")
        self._greeted = True
        self.answers += (GREETING[VERSION_ENDS:], READY)

    def _cut(self, data: bytes) -> None:
        """Cut frames off, and keep the rest."""
        at, end = 0, len(data)
        while end - at >= 2:
            flags = data[at]
            if flags & _LONG:
                if end - at < 9:
                    break
                size, begin = _LENGTH.unpack_from(data, at + 1)[0], at + 9
            else:
                size, begin = data[at + 1], at + 2
            self._check(flags, size)
            if begin + size <= end:
                content = data[begin : begin + size]
                at = begin + size
                if flags & _COMMAND:
                    self._obey(content)
                else:
                    self._take(content, bool(flags & _MORE))
            elif size < KEEP_BYTES or flags & _COMMAND:
                break
            else:
                self._large = bytearray(size)
                self._more = bool(flags & _MORE)
                self._large[: end - begin] = data[begin:end]
                self._filled = end - begin
                at = end
        self._data = data[at:] if at else data

    def _check(self, flags: int, size: int) -> None:
        if flags & _RESERVED or (flags & _COMMAND and flags & _MORE):
            raise ZmtpError(f"a frame with the flags {flags:#04x}")
        if flags & _COMMAND:
            if size > MAX_COMMAND_BYTES:
                raise ZmtpError(f"a command of {size} bytes")
        elif not self.ready:
            raise ZmtpError("a message before READY")
        elif size > self._max_frame_bytes:
            raise ZmtpError(f"a frame of {size} bytes; at most {self._max_frame_bytes} are allowed")

    def _take(self, content: Any, more: bool) -> None:
        if self._discarding is not None:
            self._discarding.frames += 1
            if not more:
                self._messages.append(self._discarding)
                self._discarding = None
            return
        self._frames.append(content)
        if not more:
            self._messages.append(self._frames)
            self._frames = []
        elif len(self._frames) == self._max_frames:
            self._discarding = TooManyFrames(bytes(self._frames[0]), len(self._frames))
            self._frames = []

    def _obey(self, content: bytes) -> None:
        size = content[0] if content else 0
        name, rest = content[1 : 1 + size], content[1 + size :]
        match name:
            case b"READY" if not self.ready:
                self.ready = True
            case b"ERROR":
                raise HandshakeRefused(rest[1:].decode("ascii", "replace")[:32])
            case b"PING" if self.ready:
                self.answers.append(
                    _command(b"PONG", rest[2:18])
                )  # after the time to live, a context of up to 16 bytes
            case _:
                if not self.ready:
                    raise ZmtpError(f"a command {name[:16]!r} before READY")


def mechanism_of(greeting: bytes) -> str:
    """What a greeting asks for: "NULL", "CURVE", …; "" where it is none, or not all of it."""
    if len(greeting) < GREETING_BYTES or greeting[:1] != b"\xff" or greeting[9:10] != b"\x7f":
        return ""
    return greeting[12 : 12 + _MECHANISM_BYTES].rstrip(b"\0").decode("ascii", "replace")


def _may_begin(data: bytes) -> bool:
    return data[:1] == b"\xff" and (len(data) < 10 or data[9:10] == b"\x7f")
