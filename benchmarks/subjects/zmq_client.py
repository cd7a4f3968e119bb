"""The caller of the plain ZeroMQ subjects: a DEALER, with the cheapest calls that pyzmq has."""

from __future__ import annotations

import itertools
import select
from collections.abc import Iterator

import zmq
from zmq.backend import Socket as BackendSocket

from maitred.benchmarks.method.drivers import drive_calls, precise_sleeps
from maitred.benchmarks.method.load import Flow, Load
from maitred.benchmarks.method.pace import Pace
from maitred.benchmarks.method.recorder import now_ns
from maitred.benchmarks.method.streams import StreamFlow, StreamLoad, drive_streams
from maitred.benchmarks.subjects.protocol import Payload
from maitred.benchmarks.subjects.zmq_header import header, request_of, stream_header
from maitred.transport.frames import KEEP_FRAME_BYTES, Inbox, send_message

__all__ = ["ZmqCaller"]

DEFAULT_TIMEOUT_S = 60.0

SPIN_NS = 80_000
"""Before this is left until a request is due, it is waited for without sleeping: a wake-up takes 30 to 60 µs."""

_recv = BackendSocket.recv


class ZmqCaller:
    """See `Caller`. Owns the socket; who hands over a `context` too has it ended with the socket.

    Args:
        socket: a DEALER, connected or bound.
    """

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket
        self._inbox = Inbox(socket)
        self._numbers = itertools.count(1)
        socket.setsockopt(zmq.RCVTIMEO, int(DEFAULT_TIMEOUT_S * 1000))

    def call(self, payload: Payload, task_s: float = 0.0) -> Payload:
        """See `Caller`. A payload from 8 KiB on comes back as a memoryview, without a copy."""
        send_message(self._socket, [header(next(self._numbers), task_s), payload])
        return self._answer()

    def _answer(self) -> bytes | memoryview:
        """The last frame of the next message."""
        frame = _recv(self._socket, 0, False)
        while frame.more:
            frame = _recv(self._socket, 0, False)
        return frame.bytes if len(frame) < KEEP_FRAME_BYTES else frame.buffer

    def drive(self, load: Load) -> Flow:
        """See `Caller`."""
        if load.outstanding == 1 and not load.rate_per_s:
            return drive_calls(lambda: self.call(load.payload, load.task_s), load)
        return _Drive(self._socket, self._inbox, self._numbers, load).run()

    def drive_streams(self, load: StreamLoad) -> StreamFlow:
        """See `Streaming`."""
        return drive_streams(lambda: self._stream(load), load)

    def _stream(self, load: StreamLoad) -> Iterator[bytes | memoryview]:
        number = next(self._numbers)
        send_message(self._socket, [stream_header(number, load.parts, load.part_bytes), b""])
        for _ in range(load.parts):
            yield self._answer()

    def close(self) -> None:
        """See `Caller`."""
        self._socket.close(0)


class _Drive:
    """Many outstanding on one socket: sends what is due, receives what is there, sleeps until either."""

    def __init__(self, socket: zmq.Socket[bytes], inbox: Inbox, numbers: itertools.count[int], load: Load) -> None:
        self._socket, self._inbox, self._numbers, self._load = socket, inbox, numbers, load
        self._descriptor = int(socket.getsockopt(zmq.FD))
        self._sent: dict[int, int] = {}
        self._pace = Pace(load)

    def run(self) -> Flow:
        precise_sleeps()
        while True:
            due = self._send_due()
            if due is None and not self._sent:
                return self._pace.end()
            if not self._receive() and not self._sleep(due):
                return self._give_up()

    def _send_due(self) -> int | None:
        """Send while something is due and there is room; returns when the next one is due, None after the last."""
        load, pace = self._load, self._pace
        while True:
            due = pace.next_due_ns()
            if due is None or due > now_ns() or len(self._sent) >= load.outstanding:
                return due
            number = next(self._numbers)
            self._sent[number] = pace.take(due)
            send_message(self._socket, [header(number, load.task_s), load.payload])

    def _receive(self) -> bool:
        """Take in what is there, at most as many as are under way; whether there was any."""
        latency, some = self._pace.flow.latency, False
        try:
            for _ in range(self._load.outstanding):
                frames = self._inbox.receive()
                assert isinstance(frames, list)
                head = frames[0]
                began = self._sent.pop(request_of(head if isinstance(head, bytes) else head.bytes), None)
                if began is not None:  # else it is of a load that was given up
                    latency.append(now_ns() - began)
                some = True
        except zmq.Again:
            pass
        return some

    def _sleep(self, due: int | None) -> bool:
        """Sleep until an answer may be there or one is due; False when neither came in time.

        By `select` on the socket's descriptor, after a receive that found nothing: ZeroMQ's own poll counts whole
        milliseconds.
        """
        patience = self._load.timeout_s
        if due is not None and len(self._sent) < self._load.outstanding:
            left = due - now_ns() - SPIN_NS
            if left > 0:
                select.select([self._descriptor], [], [], left / 1e9)
            return True
        ready, _, _ = select.select([self._descriptor], [], [], patience)
        return bool(ready)

    def _give_up(self) -> Flow:
        flow = self._pace.end()
        for began in self._sent.values():
            flow.fail(TimeoutError(f"no answer within {self._load.timeout_s:g} s"), flow.ended_ns - began)
        return flow
