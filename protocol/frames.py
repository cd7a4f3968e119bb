"""Frames to messages and back: the only place that knows what a header looks like.

    header = "MT" version msgpack([type, field, …])        version is one byte

followed by the body frames of a message that has a body. A header of three known bytes tells maitred's traffic from
Majordomo's (which opens with an empty frame or "MDP") before anything is decoded.

Decoding raises `ProtocolError` and nothing else, whatever the bytes; lengths and counts are checked before their content.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Generic, TypeVar

import msgspec

from maitred.protocol import limits, messages
from maitred.protocol.errors import ProtocolError

VERSION = 1
MAGIC = b"MT" + bytes([VERSION])

_HELLO = b"\x0a"
_BUNDLE = b"\x03"
"""Number of that message, which is opened (`protocol.bundles`) before it would come to a decoder."""

Frames = list[Any]
"""One message: bytes-like frames, the header first. Body frames may be any buffer; they are never looked into."""

_encode = msgspec.msgpack.Encoder().encode
_M = TypeVar("_M")


def encode(message: messages.Message, body: Sequence[Any] = ()) -> Frames:
    """Make the frames of a message."""
    return [MAGIC + _encode(message), *body]


def is_hello(frames: Sequence[Any]) -> bool:
    """Whether a message looks like a client's introduction; it may be broken all the same."""
    head = frames[0] if frames else b""
    return type(head) is bytes and head[4:5] == _HELLO


class Decoder(Generic[_M]):
    """Decodes one direction of traffic: whatever is not in its union is refused."""

    def __init__(self, union: Any) -> None:
        self._union = union

    @cached_property
    def _decode(self) -> Callable[[bytes], _M]:
        """Made when it is first needed: it takes 2 ms, and most processes read one direction of four."""
        return msgspec.msgpack.Decoder(self._union).decode

    def decode(self, frames: Sequence[Any]) -> tuple[_M, Sequence[Any]]:
        """Give the message and its body frames.

        Raises:
            ProtocolError: for anything that docs/protocol.md does not allow; the text says what and, for a field, where.
        """
        count = len(frames)
        if not 0 < count <= limits.MAX_FRAMES:
            raise ProtocolError(_wrong_count(count))
        header = frames[0]
        if len(header) > limits.MAX_HEADER_BYTES:
            raise ProtocolError(f"a header of {len(header)} bytes; at most {limits.MAX_HEADER_BYTES} are allowed")
        if type(header) is not bytes:
            header = bytes(header)
        if header[:3] != MAGIC:
            raise ProtocolError(_foreign(header))
        try:
            message = self._decode(header[3:])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ProtocolError(_wrong_header(header, error)) from None
        if (type(message) in messages.WITH_BODY) != (count > 1):
            kind = type(message).__name__
            raise ProtocolError(f"{kind} {'without a body' if count == 1 else 'with body frames it cannot have'}")
        return message, frames[1:]


def _wrong_count(count: int) -> str:
    if not count:
        return "a message of no frames"
    return f"{count} frames in one message; at most {limits.MAX_FRAMES} are allowed"


def _wrong_header(header: bytes, error: Exception) -> str:
    if header[4:5] == _BUNDLE:
        return "a bundle that is broken, or is in another one"
    return f"header: {error}"


def _foreign(header: bytes) -> str:
    if header[:2] == MAGIC[:2]:
        return f"protocol version {header[2:3].hex() or 'missing'}; this peer speaks {VERSION}"
    return f"not a maitred header: it opens with {header[:8].hex(' ') or 'nothing'}"


from_client: Decoder[messages.FromClient] = Decoder(messages.FromClient)
from_worker: Decoder[messages.FromWorker] = Decoder(messages.FromWorker)
to_client: Decoder[messages.ToClient] = Decoder(messages.ToClient)
to_worker: Decoder[messages.ToWorker] = Decoder(messages.ToWorker)
