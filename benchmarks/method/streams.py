"""A load of streams, what came of it, and how a stream is read and timed. Each part begins with when it was made.

The clock of the measurements is the same for all processes of a host, so that the age of a part when it is read tells
how far ahead of its reader the worker was let run.
"""

from __future__ import annotations

import struct
import time
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from typing import Any

import anyio
from msgspec import Struct, field

from maitred.benchmarks.method.load import Flow
from maitred.benchmarks.method.recorder import Durations, durations, now_ns

__all__ = ["MIN_PART_BYTES", "StreamFlow", "StreamLoad", "drive_async_streams", "drive_streams", "made_parts"]

_STAMP = struct.Struct("<q")

MIN_PART_BYTES = _STAMP.size
"""A smaller part has no room for the time."""


class StreamLoad(Struct, frozen=True, kw_only=True):
    """Streams, one after the other.

    Attributes:
        parts: of a stream.
        part_bytes: of a part, `MIN_PART_BYTES` at least.
        pause_s: that the reader rests after each part.
        streams: how many.
        timeout_s: each stream's time.
    """

    parts: int
    part_bytes: int
    pause_s: float = 0.0
    streams: int = 1
    timeout_s: float = 60.0


class StreamFlow(Flow, kw_only=True):
    """What came of them; the latency is that of whole streams.

    Attributes:
        first: nanoseconds until the first part of each stream.
        age: of each part when it was read, nanoseconds since it was made.
    """

    first: Durations = field(default_factory=durations)
    age: Durations = field(default_factory=durations)


def made_parts(parts: int, part_bytes: int) -> Iterator[bytes]:
    """What a worker sends."""
    filler = bytes(part_bytes - MIN_PART_BYTES)
    for _ in range(parts):
        yield _STAMP.pack(now_ns()) + filler


def drive_streams(stream: Callable[[], Iterable[Any]], load: StreamLoad) -> StreamFlow:
    """Read streams in this thread. Each gives its parts, and None where it has a result besides."""
    flow = StreamFlow(began_ns=now_ns())
    for _ in range(load.streams):
        reading = _Reading(flow)
        try:
            for part in stream():
                if part is not None:
                    reading.take(part)
                    if load.pause_s:
                        time.sleep(load.pause_s)
        except Exception as error:
            flow.fail(error, reading.took_ns())
        else:
            reading.end(load.parts)
    flow.ended_ns = now_ns()
    return flow


async def drive_async_streams(stream: Callable[[], AsyncIterable[Any]], load: StreamLoad) -> StreamFlow:
    """The same in an event loop."""
    flow = StreamFlow(began_ns=now_ns())
    for _ in range(load.streams):
        reading = _Reading(flow)
        try:
            async for part in stream():
                if part is not None:
                    reading.take(part)
                    if load.pause_s:
                        await anyio.sleep(load.pause_s)
        except Exception as error:
            flow.fail(error, reading.took_ns())
        else:
            reading.end(load.parts)
    flow.ended_ns = now_ns()
    return flow


class _Reading:
    """One stream, from when it is asked for."""

    def __init__(self, flow: StreamFlow) -> None:
        self._flow, self._began, self._taken = flow, now_ns(), 0

    def take(self, part: bytes | memoryview) -> None:
        now = now_ns()
        self._flow.age.append(now - _STAMP.unpack_from(part)[0])
        if not self._taken:
            self._flow.first.append(now - self._began)
        self._taken += 1

    def took_ns(self) -> int:
        return now_ns() - self._began

    def end(self, wanted: int) -> None:
        if self._taken == wanted:
            self._flow.latency.append(self.took_ns())
        else:
            self._flow.fail(EOFError(f"{self._taken} parts came of {wanted}"), self.took_ns())
