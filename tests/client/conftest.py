"""A broker (a thread with a trio loop) and a hand-made worker (another thread) for clients to call over real sockets."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import trio
import zmq
from broker_peers import POOL, id128, settings
from msgspec.structs import replace
from scripted_broker import Answers, ScriptedBroker, echo, free_endpoint

from maitred.broker.core.settings import CoreSettings, PoolSettings
from maitred.broker.shell import Shell
from maitred.client import Client
from maitred.protocol import frames
from maitred.protocol import messages as m
from maitred.protocol.body import decode_body, encode_body
from maitred.transport import endpoints, sockets
from maitred.transport.errors import BindError

WITHIN_S = 5.0
MAX_MESSAGE_BYTES = 4 * 1024 * 1024

COMMANDS = ("echo", "parts", "fail", "hang", "maybe", "options", "later")


async def bind(side: zmq.Socket[bytes], address: str) -> None:
    """Bind, as soon as the broker before this one has let go: its sockets close in a thread of ZeroMQ's."""
    with trio.fail_after(WITHIN_S):
        while True:
            with contextlib.suppress(BindError):
                endpoints.bind(side, address)
                return
            await trio.sleep(0.002)


class Site:
    """A broker with one worker whose commands are: echo, parts, fail, hang (until cancelled), options (of the request).

    `maybe` hangs if told to and is echo if not; `later` is answered when the next request of another kind is.
    """

    def __init__(self, max_queue: int = 1000, slots: int = 64) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.cancelled: list[int] = []
        self.started: list[tuple[str, int]] = []
        self.saturated = 0
        self._pool = PoolSettings(POOL, max_queue=max_queue)
        self._slots = slots
        self._stop = threading.Event()
        self._reregister = threading.Event()
        self._later: list[m.Dispatch] = []
        self.clients, self.workers = free_endpoint(), free_endpoint()
        self.start_broker()
        self._worker_thread = threading.Thread(target=self._worker)
        self._worker_thread.start()

    def close(self) -> None:
        self._stop.set()
        self._worker_thread.join(WITHIN_S)
        self.stop_broker()
        self.context.destroy(linger=0)

    def start_broker(self) -> None:
        """Another broker each time, at the same address."""
        ready, self._stop_broker = threading.Event(), threading.Event()
        settings_ = replace(settings(pools=[self._pool]), epoch=os.urandom(16), max_message_bytes=MAX_MESSAGE_BYTES)
        self._broker_thread = threading.Thread(target=trio.run, args=(self._serve, settings_, ready, self._stop_broker))
        self._broker_thread.start()
        assert ready.wait(WITHIN_S)
        self._reregister.set()

    def stop_broker(self) -> None:
        self._stop_broker.set()
        self._broker_thread.join(WITHIN_S)

    def wait(self, condition: Callable[[], object]) -> None:
        give_up = time.monotonic() + WITHIN_S
        while not condition():
            assert time.monotonic() < give_up, "it did not come to pass"
            time.sleep(0.002)

    async def _serve(self, settings_: CoreSettings, ready: threading.Event, stop: threading.Event) -> None:
        def note(note: object) -> None:
            self.saturated += getattr(note, "event", "") == "pool.saturated"

        sides = [
            sockets.router(self.context, zap_domain=name, handled=False, linger_ms=0) for name in ("clients", "workers")
        ]
        addresses = (self.clients, self.workers)
        for side, address in zip(sides, addresses, strict=True):
            await bind(side, address)
        self.shell = Shell(settings_, *sides, note)
        async with trio.open_nursery() as nursery:
            await nursery.start(self.shell.run)
            ready.set()
            await trio.to_thread.run_sync(stop.wait)
            nursery.cancel_scope.cancel()

    def _worker(self) -> None:
        dealer = sockets.dealer(self.context, linger_ms=0)
        endpoints.connect(dealer, self.workers)
        register = m.Register(id128(1), id128(2), POOL, self._slots, [m.CommandInfo(name) for name in COMMANDS])
        beat_at = 0.0
        while not self._stop.is_set():
            if self._reregister.is_set() and dealer.poll(20, zmq.POLLOUT):
                self._reregister.clear()
                dealer.send_multipart(frames.encode(register))
            if time.monotonic() >= beat_at and dealer.poll(0, zmq.POLLOUT):
                beat_at = time.monotonic() + 0.5
                dealer.send_multipart(frames.encode(m.Heartbeat()))
            if not dealer.poll(20):
                continue
            message, body = frames.to_worker.decode(dealer.recv_multipart())
            for answer in self._answers(message, body):
                dealer.send_multipart(answer)
        dealer.close(linger=0)

    def _answers(self, message: object, body: list[bytes]) -> Iterator[list[bytes]]:
        if isinstance(message, m.WorkerCancel):
            self.cancelled.append(message.id)
            who = (message.client, message.id, 1)
            yield frames.encode(m.WorkerError(*who, "cancelled", "told to"), encode_body({"outcome": "stopped"}))
        elif isinstance(message, m.Dispatch):
            self.started.append((message.command, message.id))
            if message.command == "later":
                self._later.append(message)
                return
            yield from self._work(message, body)
            while self._later:
                late = self._later.pop()
                yield frames.encode(m.WorkerReply(late.client, late.id, late.attempt), encode_body("late"))

    def _work(self, order: m.Dispatch, body: list[bytes]) -> Iterator[list[bytes]]:
        who = (order.client, order.id, order.attempt)
        args = decode_body(body)
        if order.command == "echo" or (order.command == "maybe" and not args.get("hang")):
            yield frames.encode(m.WorkerReply(*who), encode_body(args))
        elif order.command == "parts":
            for number in range(args["n"]):
                yield frames.encode(m.WorkerPart(*who, number), encode_body(number))
            yield frames.encode(m.WorkerReply(*who), encode_body("done"))
        elif order.command == "options":
            request = self.shell.core.state.requests[order.client, order.id]
            found = {"idempotent": request.idempotent, "attempts": request.attempts}
            yield frames.encode(m.WorkerReply(*who), encode_body(found))
        elif order.command == "fail":
            details = {"type": "ValueError", "traceback": "Traceback: in the worker"}
            yield frames.encode(m.WorkerError(*who, "application_error", "ValueError: no"), encode_body(details))


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


@pytest.fixture
def make_site() -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def make(**options: int) -> Site:
        made.append(Site(**options))
        return made[-1]

    yield make
    for site in made:
        site.close()


@pytest.fixture
def client(site: Site) -> Iterator[Client]:
    with Client(site.clients) as client:
        yield client


@pytest.fixture
def make_broker() -> Iterator[Callable[..., ScriptedBroker]]:
    made: list[ScriptedBroker] = []

    def make(answers: Answers = echo) -> ScriptedBroker:
        made.append(ScriptedBroker(free_endpoint(), answers))
        return made[-1]

    yield make
    for broker in made:
        broker.close()
