"""The processes of the plain ZeroMQ subjects: libzmq's own proxy, and a worker that gives back the frames it gets.

Each reads its settings from a line of its standard input, says on its standard output where it listens or that it is
connected, and ends with its input.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import Any, NoReturn, TypeVar

import msgspec
import zmq
from msgspec import Struct
from zmq.backend import Socket as BackendSocket

from maitred.benchmarks.method.streams import made_parts
from maitred.benchmarks.subjects.zmq_header import is_stream, parts_of, task_s_of
from maitred.protocol import frames as wire
from maitred.protocol import limits, messages
from maitred.protocol.body import decode_body, encode_body
from maitred.transport.endpoints import bind
from maitred.transport.frames import Inbox, send_message
from maitred.transport.lifeline import Lifeline

__all__ = ["Proxy", "Worker", "client_worker", "no_limit", "proxy", "worker"]

T = TypeVar("T", bound=Struct)

KEEP_FRAME_BYTES = 8192
"""From this size on a frame is passed on without a copy, as maitred does."""

_recv = BackendSocket.recv
_send = BackendSocket.send


class Proxy(Struct):
    """What the proxy is told: where to bind. It answers with the same, ports filled in."""

    front: str
    back: str


class Worker(Struct):
    """What a worker is told: where to connect."""

    endpoint: str


def proxy() -> NoReturn:
    """Libzmq's `zmq_proxy`: nothing of it is Python."""
    settings = _settings(Proxy)
    context = zmq.Context()
    front, back = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    no_limit(front)
    no_limit(back)
    _say(Proxy(bind(front, settings.front), bind(back, settings.back)))
    zmq.proxy(front, back)
    raise SystemExit


def worker() -> NoReturn:
    """Give back whatever comes, after the sleep that the header asks for."""
    settings = _settings(Worker)
    socket = _connected(settings)
    _say(settings)
    while True:
        _echo(socket)


def _connected(settings: Worker) -> zmq.Socket[bytes]:
    socket = zmq.Context().socket(zmq.DEALER)
    no_limit(socket)
    socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.connect(settings.endpoint)
    socket.poll(flags=zmq.POLLOUT)
    return socket


def _echo(socket: zmq.Socket[bytes]) -> None:
    frames = [_recv(socket, 0, False)]
    while frames[-1].more:
        frames.append(_recv(socket, 0, False))
    head = frames[-2].bytes
    if is_stream(head):
        _send_parts(socket, frames[:-1], head)
        return
    task_s = task_s_of(head)
    if task_s:
        time.sleep(task_s)
    left = len(frames)
    for frame in frames:
        left -= 1
        flags = int(zmq.SNDMORE) if left else 0
        if len(frame) < KEEP_FRAME_BYTES:
            _send(socket, frame.bytes, flags)
        else:
            _send(socket, frame, flags, False)  # pyright: ignore[reportCallIssue, reportArgumentType]


def _send_parts(socket: zmq.Socket[bytes], heads: Sequence[zmq.Frame], head: bytes) -> None:
    """Send all at once: nothing holds this worker back where the reader is slow."""
    leading = [frame.bytes for frame in heads]
    for part in made_parts(*parts_of(head)):
        for frame in leading:
            _send(socket, frame, int(zmq.SNDMORE))
        if len(part) < KEEP_FRAME_BYTES:
            _send(socket, part, 0)
        else:
            _send(socket, part, 0, False)  # pyright: ignore[reportCallIssue, reportArgumentType]


def client_worker() -> NoReturn:
    """Answer maitred's client as a broker would, giving each payload back."""
    settings = _settings(Worker)
    socket = _connected(settings)
    _say(settings)
    welcome = messages.Welcome(os.urandom(16), 1.0, 3, limits.MAX_MESSAGE_BYTES)
    inbox = Inbox(socket)
    while True:
        message = inbox.receive(wait=True)
        assert isinstance(message, list)
        asked, body = wire.from_client.decode(message[1:])
        if isinstance(asked, messages.Request):
            answer = wire.encode(messages.Reply(asked.id), _echoed(body))
        elif isinstance(asked, messages.Hello):
            answer = wire.encode(welcome)
        elif isinstance(asked, messages.Heartbeat):
            answer = wire.encode(asked)
        else:
            continue
        send_message(socket, [message[0], *answer])


def _echoed(body: Sequence[Any]) -> list[Any]:
    arguments = decode_body(body)
    task_s = arguments.get("task_s")
    if task_s:
        time.sleep(task_s)
    return encode_body(arguments["payload"])


def no_limit(socket: zmq.Socket[bytes]) -> None:
    """Take the high-water marks away: a message over one would be lost or block, and neither is to be measured here."""
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVHWM, 0)
    socket.setsockopt(zmq.LINGER, 0)


def _settings(kind: type[T]) -> T:
    settings = msgspec.json.decode(sys.stdin.buffer.readline(), type=kind)
    Lifeline(os.dup(sys.stdin.fileno())).watch()
    return settings


def _say(settings: Struct) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(settings) + b"\n")
    sys.stdout.buffer.flush()
