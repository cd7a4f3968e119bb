"""The header frame of the plain ZeroMQ subjects: which request this is, and how long its task takes."""

from __future__ import annotations

import struct

__all__ = ["header", "request_of", "task_s_of"]

_FORMAT = struct.Struct("<Qd")


def header(request: int, task_s: float) -> bytes:
    """16 bytes."""
    return _FORMAT.pack(request, task_s)


def request_of(frame: bytes) -> int:
    """The request's number."""
    return _FORMAT.unpack(frame)[0]


def task_s_of(frame: bytes) -> float:
    """Seconds that its task sleeps."""
    return _FORMAT.unpack(frame)[1]
