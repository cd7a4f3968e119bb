"""The header frame of the plain ZeroMQ subjects: which request this is, and how long its task takes or how many parts.

That of a stream is longer: so a worker tells the two apart.
"""

from __future__ import annotations

import struct

__all__ = ["header", "is_stream", "parts_of", "request_of", "stream_header", "task_s_of"]

_FORMAT = struct.Struct("<Qd")
_STREAM = struct.Struct("<QQQ")


def header(request: int, task_s: float) -> bytes:
    """16 bytes."""
    return _FORMAT.pack(request, task_s)


def request_of(frame: bytes) -> int:
    """The request's number."""
    return _FORMAT.unpack(frame)[0]


def task_s_of(frame: bytes) -> float:
    """Seconds that its task sleeps."""
    return _FORMAT.unpack(frame)[1]


def stream_header(request: int, parts: int, part_bytes: int) -> bytes:
    """24 bytes."""
    return _STREAM.pack(request, parts, part_bytes)


def is_stream(frame: bytes) -> bool:
    """Whether it asks for parts."""
    return len(frame) == _STREAM.size


def parts_of(frame: bytes) -> tuple[int, int]:
    """How many parts, and of how many bytes."""
    _, parts, part_bytes = _STREAM.unpack(frame)
    return parts, part_bytes
