"""Several small messages in one: what has gathered for a peer leaves as one ZeroMQ message, and costs what one costs.

    bundle = "MT" version msgpack([3, [header frame, body frame, header frame, body frame, …]])

The frames inside are those that each message would have had by itself, byte for byte, with an empty one for a body that
it has not. A message of several body frames, or of large ones, is sent by itself. So a bundle is opened before anything
is decoded, and what comes out of it is checked as if it had come alone: a broken one spoils no other. The order is that
in which they were said.

It is sent to nobody who has not said that it may be: `bundles` in HELLO, REGISTER and WELCOME.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from maitred.protocol import limits
from maitred.protocol.frames import MAGIC, Frames
from maitred.protocol.messages import Bundle

__all__ = ["first_of", "fits", "opened"]

_OVERHEAD_BYTES = 12
"""Of one message in a bundle: the lengths of its two frames, as msgpack writes them; and more than the bundle's own."""

_NUMBER = 3
_SHORTEST, _LONGEST = (
    0x92,
    0x9F,
)  # msgpack's marks of an array with two elements and with fifteen: later fields included

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Bundle).decode


def first_of(waiting: Sequence[Frames]) -> tuple[Frames, int]:
    """What to send first of some messages: the first one, or a bundle of it and those after it; says of how many."""
    if len(waiting) == 1:
        return waiting[0], 1
    room = limits.MAX_HEADER_BYTES - _OVERHEAD_BYTES
    inside: list[bytes] = []
    for message in waiting[: limits.MAX_BUNDLE_MESSAGES]:
        room -= _size(message)
        if room < 0:
            break
        inside += message if len(message) == 2 else (message[0], b"")
    count = len(inside) // 2
    return (waiting[0], 1) if count < 2 else ([MAGIC + _encode(Bundle(inside))], count)


def fits(message: Frames) -> bool:
    """Whether a message may be in a bundle with others."""
    return _size(message) < limits.MAX_HEADER_BYTES


def opened(frames: Sequence[Any]) -> list[Frames] | None:
    """The messages of a bundle; None where it is none, or a broken one, which no decoder takes either."""
    header = frames[0] if len(frames) == 1 else b""
    if not 4 < len(header) <= limits.MAX_HEADER_BYTES:
        return None
    if type(header) is not bytes:
        header = bytes(header)
    if header[4] != _NUMBER or not _SHORTEST <= header[3] <= _LONGEST or header[:3] != MAGIC:
        return None
    try:
        inside = _decode(header[3:]).frames
    except msgspec.DecodeError:
        return None
    return None if len(inside) % 2 else [_message(inside, at) for at in range(0, len(inside), 2)]


def _message(inside: Sequence[bytes], at: int) -> Frames:
    return [inside[at], inside[at + 1]] if inside[at + 1] else [inside[at]]


def _size(message: Frames) -> int:
    """Bytes that a message takes in a bundle; more than any has room for where it is to be sent by itself."""
    size = len(message[0])
    if len(message) > 1:
        body = message[1]
        if len(message) > 2 or type(body) is not bytes or not body:
            return limits.MAX_HEADER_BYTES
        size += len(body)
    return limits.MAX_HEADER_BYTES if size > limits.MAX_BUNDLED_BYTES else size + _OVERHEAD_BYTES
