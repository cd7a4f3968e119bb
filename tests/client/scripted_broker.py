"""A broker of a few lines: it greets, answers heartbeats, notes what it is told; the test says what it answers."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import zmq

from maitred.protocol import frames
from maitred.protocol import messages as m
from maitred.protocol.body import decode_body, encode_body
from maitred.transport import sockets

WITHIN_S = 5.0
INTERVAL_S = 0.05

Answers: TypeAlias = Callable[[Any, Sequence[Any]], Iterable[frames.Frames]]
"""Gives what is answered to a message."""


def free_endpoint() -> str:
    """A free one below the ports that systems give to outgoing connections, so that none takes it amid a restart."""
    while True:
        port = random.randrange(15_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return f"tcp://127.0.0.1:{port}"


def echo(message: Any, body: Sequence[Any]) -> Iterable[frames.Frames]:
    """Answers each request with its arguments."""
    if isinstance(message, m.Request):
        yield frames.encode(m.Reply(message.id), encode_body(decode_body(body)))


def refusal(request_id: int, pool: str = "general", **details: Any) -> frames.Frames:
    """The pool is full."""
    error = m.Error(request_id, "resource_exhausted", "full", m.LEVEL_FULL)
    return frames.encode(error, encode_body({"pool": pool, "reason": "queue_full"} | details))


class ScriptedBroker:
    """See above.

    Attributes:
        said: what came, HELLOs and heartbeats not included, each with the time of its arrival.
        hellos, beats: those.
    """

    def __init__(self, address: str, answers: Answers = echo) -> None:
        self.clients = address
        self.answers = answers
        self.said: list[tuple[float, Any]] = []
        self.hellos: list[m.Hello] = []
        self.beats = 0
        self._epoch = os.urandom(16)
        self._known: dict[bytes, None] = {}
        self._to_tell: deque[frames.Frames] = deque()
        self._forget = threading.Event()
        self._stop = threading.Event()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def requests(self) -> list[m.Request]:
        """What it was asked to run."""
        return [message for _, message in self.said if isinstance(message, m.Request)]

    def close(self) -> None:
        self._stop.set()
        self._thread.join(WITHIN_S)
        self._context.destroy(linger=0)

    def tell(self, message: m.Message, body: Sequence[Any] = ()) -> None:
        """Send something to every client that is known."""
        self._to_tell.append(frames.encode(message, body))

    def restart(self) -> None:
        """Be another broker, that knows nobody."""
        self._forget.set()

    def wait(self, condition: Callable[[], object]) -> None:
        give_up = time.monotonic() + WITHIN_S
        while not condition():
            assert time.monotonic() < give_up, "it did not come to pass"
            time.sleep(0.002)

    def _run(self) -> None:
        router = self._listen()
        while not self._stop.is_set():
            if self._forget.is_set():
                self._known, self._epoch = {}, os.urandom(16)
                self._forget.clear()
            self._tell_all(router)
            if router.poll(5):
                peer, *received = router.recv_multipart()
                self._tell_all(router)  # what it was given to tell before this was asked
                for answer in self._heard(peer, received):
                    with contextlib.suppress(zmq.ZMQError):  # who asked is gone already
                        router.send_multipart([peer, *answer])
        router.close(linger=0)

    def _tell_all(self, router: zmq.Socket[bytes]) -> None:
        while self._to_tell:
            message = self._to_tell.popleft()
            for peer in self._known:
                with contextlib.suppress(zmq.ZMQError):
                    router.send_multipart([peer, *message])

    def _listen(self) -> zmq.Socket[bytes]:
        router = sockets.router(self._context, zap_domain="clients", handled=False, linger_ms=0)
        # A client that has gone may leave its queue full, and requests unread: a send without end would wait for both.
        router.setsockopt(zmq.SNDTIMEO, 1000)
        router.bind(self.clients)
        return router

    def _heard(self, peer: bytes, received: list[bytes]) -> Iterable[frames.Frames]:
        message, body = frames.from_client.decode(received)
        if isinstance(message, m.Hello):
            self.hellos.append(message)
            self._known[peer] = None
            return [frames.encode(m.Welcome(self._epoch, INTERVAL_S, 100, 1_000_000))]
        if peer not in self._known:
            return [] if isinstance(message, m.Bye) else [frames.encode(m.Stranger())]
        if isinstance(message, m.Heartbeat):
            self.beats += 1
            return [frames.encode(m.Heartbeat())]
        self.said.append((time.monotonic(), message))
        return self.answers(message, body)
