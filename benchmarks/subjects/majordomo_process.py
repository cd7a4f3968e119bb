r"""The processes of the Majordomo subject: a broker and a worker, written as a reader of the ZeroMQ guide would.

Frames after the routing id, each message with an empty delimiter before them, as MDP/0.1 has it:

    client  REQUEST    "MDPC01" service body…          broker's answer: the same
    worker  READY      "MDPW01" \1 service
            REQUEST    "MDPW01" \2 client "" body…     broker to worker
            REPLY      "MDPW01" \3 client "" body…     worker to broker
            HEARTBEAT  "MDPW01" \4                     both ways
            DISCONNECT "MDPW01" \5                     broker to a worker that it does not know

One request per worker at a time; the worker that has been ready for longest comes first.
"""

from __future__ import annotations

import time
from collections import deque
from typing import NoReturn

import zmq
from msgspec import Struct

from maitred.benchmarks.subjects import child
from maitred.benchmarks.subjects.zmq_header import task_s_of
from maitred.transport.endpoints import bind

__all__ = ["CLIENT", "SERVICE", "Endpoint", "broker", "worker"]

CLIENT, WORKER = b"MDPC01", b"MDPW01"
READY, REQUEST, REPLY, HEARTBEAT, DISCONNECT = b"\1", b"\2", b"\3", b"\4", b"\5"
SERVICE = b"echo"

HEARTBEAT_S = 2.5
"""The guide's."""

POLL_MS = int(HEARTBEAT_S * 1000)

LIVENESS = 3
"""So many heartbeats may be missed."""


class Endpoint(Struct):
    """Where the broker is to bind, and where it has bound; where a worker connects."""

    endpoint: str


class Peer(Struct):
    """A worker, as the broker knows it.

    Attributes:
        service: what it has said that it does.
        expires_s: when it counts as gone, by the monotonic clock.
        is_ready: whether it waits for a request.
    """

    service: bytes
    expires_s: float
    is_ready: bool = False


class Broker:
    """One ROUTER for clients and workers."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket
        self._workers: dict[bytes, Peer] = {}
        self._ready: dict[bytes, deque[bytes]] = {}
        self._requests: dict[bytes, deque[list[bytes]]] = {}
        self._heartbeat_s = time.monotonic() + HEARTBEAT_S

    def run(self) -> NoReturn:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        while True:
            if poller.poll(POLL_MS):
                self._receive(self._socket.recv_multipart())
            if time.monotonic() > self._heartbeat_s:
                self._purge()
                self._beat()

    def _receive(self, frames: list[bytes]) -> None:
        sender, _, kind, *rest = frames
        if kind == CLIENT:
            self._requests.setdefault(rest[0], deque()).append([sender, *rest[1:]])
            self._dispatch(rest[0])
        elif kind == WORKER:
            self._hear(sender, rest[0], rest[1:])

    def _hear(self, sender: bytes, command: bytes, rest: list[bytes]) -> None:
        worker = self._workers.get(sender)
        if command == READY and worker is None:
            worker = self._workers[sender] = Peer(rest[0], 0.0)
            self._wait(sender, worker)
        elif worker is None:
            self._socket.send_multipart([sender, b"", WORKER, DISCONNECT])
        elif command == REPLY:
            self._socket.send_multipart([rest[0], b"", CLIENT, worker.service, *rest[2:]])
            self._wait(sender, worker)
        if worker is not None:
            worker.expires_s = time.monotonic() + HEARTBEAT_S * LIVENESS

    def _wait(self, sender: bytes, worker: Peer) -> None:
        worker.is_ready = True
        self._ready.setdefault(worker.service, deque()).append(sender)
        self._dispatch(worker.service)

    def _dispatch(self, service: bytes) -> None:
        requests, ready = self._requests.get(service), self._ready.get(service)
        while requests and ready:
            worker = ready.popleft()
            client, *body = requests.popleft()
            self._workers[worker].is_ready = False
            self._socket.send_multipart([worker, b"", WORKER, REQUEST, client, b"", *body])

    def _purge(self) -> None:
        """Forget workers that were not heard of; one that was only busy is told, and registers again."""
        now = time.monotonic()
        for sender, worker in list(self._workers.items()):
            if worker.expires_s < now:
                del self._workers[sender]
                if worker.is_ready:
                    self._ready[worker.service].remove(sender)

    def _beat(self) -> None:
        self._heartbeat_s = time.monotonic() + HEARTBEAT_S
        for sender in self._workers:
            self._socket.send_multipart([sender, b"", WORKER, HEARTBEAT])


def broker() -> NoReturn:
    """The broker's process."""
    told = child.settings(Endpoint)
    socket = zmq.Context().socket(zmq.ROUTER)
    socket.setsockopt(zmq.LINGER, 0)
    child.report(Endpoint(bind(socket, told.endpoint)))
    Broker(socket).run()


def worker() -> NoReturn:
    """A worker's process."""
    told = child.settings(Endpoint)
    socket = zmq.Context().socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(told.endpoint)
    socket.send_multipart([b"", WORKER, READY, SERVICE])
    child.report(told)
    heartbeat_s = time.monotonic() + HEARTBEAT_S
    while True:
        if socket.poll(POLL_MS):
            _answer(socket, socket.recv_multipart())
        if time.monotonic() > heartbeat_s:
            socket.send_multipart([b"", WORKER, HEARTBEAT])
            heartbeat_s = time.monotonic() + HEARTBEAT_S


def _answer(socket: zmq.Socket[bytes], frames: list[bytes]) -> None:
    _, _, command, *rest = frames
    if command == DISCONNECT:
        socket.send_multipart([b"", WORKER, READY, SERVICE])
    elif command == REQUEST:
        client, _, header, payload = rest
        if task_s := task_s_of(header):
            time.sleep(task_s)
        socket.send_multipart([b"", WORKER, REPLY, client, b"", header, payload])
