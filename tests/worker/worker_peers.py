"""A worker with both its connections, in this process: its loop, its control thread, and a broker in the test's own hands.

Shared by test_stopping_in_loops, test_batches_in_loops and test_several_at_a_time, with the functions that they run. The
broker also serves workers that are processes of their own (`process_peers`).
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import trio
import zmq

from maitred.protocol import frames, messages
from maitred.protocol.body import decode_body, encode_body
from maitred.protocol.worker import ControlConnection, RequestsConnection
from maitred.transport.dealers import ZmqDealer
from maitred.worker import Cancelled, Context, Service
from maitred.worker.control import Control
from maitred.worker.options import WorkerOptions
from maitred.worker.plain_loop import PlainLoop
from maitred.worker.requests import Requests
from maitred.worker.stopping import Stopping
from maitred.worker.trio_loop import TrioLoop

CLIENT, TOKEN = bytes(16), bytes([1]) * 16
ENDPOINT = "inproc://workers"
PATIENCE_S = 30.0

AFTER_S = 0.02
"""Instead of limits.INTERRUPT_AFTER_S."""

service = Service()
begun, released = threading.Semaphore(0), threading.Event()
log: list[Any] = []


@service.command
def hang() -> None:
    begun.release()
    time.sleep(60)


@service.command
def look(*, context: Context) -> None:
    begun.release()
    while True:
        context.sleep(60)


@service.command
def swallow() -> str:
    begun.release()
    try:
        time.sleep(60)
    except Cancelled as error:
        return f"stopped because of {error.reason}"
    return "?"


@service.command
def parts(hangs: bool, *, context: Context) -> Iterator[int]:
    try:
        yield 1
        begun.release()
        if hangs:
            time.sleep(60)
        while not context.cancelled:
            time.sleep(0.0005)
        yield 2
    finally:
        log.append("closed")


@service.command
def short(number: int) -> int:
    end = time.monotonic() + number * 7919 % 997 / 1e6
    while time.monotonic() < end:
        pass
    return number


@service.command(batch=8)
def embed(text: list[str], hangs: list[bool]) -> list[int]:
    log.append(text)
    begun.release()
    if any(hangs):
        released.wait(60)
    return [len(each) for each in text]


@service.command
def meet(count: int, *, context: Context) -> int:
    """Return when so many are here at a time."""
    log.append(1)
    begun.release()
    most = 0
    while most < count:
        context.check_cancelled()
        most = max(most, len(log))
        time.sleep(0.0005)
    return most


@service.command
def count(n: int) -> Iterator[int]:
    yield from range(n)


asynchronous = Service()


@asynchronous.command("hang")
async def ahang() -> None:
    begun.release()
    await trio.sleep_forever()


@asynchronous.command("look")
async def alook(*, context: Context) -> None:
    begun.release()
    with trio.CancelScope(shield=True):
        while True:
            context.check_cancelled()
            await trio.sleep(0.001)


@asynchronous.command("hang_plainly")
def hang_in_the_loop() -> None:
    begun.release()
    time.sleep(60)


@asynchronous.command("embed", batch=8)
async def aembed(text: list[str], hangs: list[bool]) -> list[int]:
    log.append(text)
    begun.release()
    while any(hangs) and not released.is_set():  # noqa: ASYNC110 - another thread sets it
        await trio.sleep(0.001)
    return [len(each) for each in text]


class Broker:
    """One ROUTER for a worker's two connections."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket
        self.register: messages.Register | None = None
        self.left = False
        self.last: messages.FromWorker | None = None
        self._requests = self._control = b""
        self._early: list[tuple[messages.FromWorker, Any]] = []

    def meet(self) -> None:
        """Welcome both connections."""
        while not self._control:
            self.receive()

    def receive(self) -> tuple[messages.FromWorker, Any]:
        """The next message but signs of life."""
        end = time.monotonic() + PATIENCE_S
        while True:
            left_ms = max(0, int((end - time.monotonic()) * 1000))
            assert self._socket.poll(left_ms), "the worker said nothing"
            peer, *rest = self._socket.recv_multipart()
            message, body = frames.from_worker.decode(rest)
            match message:
                case messages.Register():
                    self.register, self._requests = message, peer
                    self._send(peer, messages.Welcome(bytes(16), 1.0, 3, 1 << 20))
                    return message, None
                case messages.Attach():
                    self._control = peer
                    self._send(peer, messages.Welcome(bytes(16), 1.0, 3, 1 << 20))
                    return message, None
                case messages.Leave():
                    self.left = True
                case messages.Heartbeat() | messages.Beat():
                    pass
                case _:
                    return message, decode_body(body) if body else None

    def _send(self, peer: bytes, message: messages.Message, body: Any = None) -> None:
        frames_of_body = encode_body(body) if body is not None else []
        self._socket.send_multipart([peer, *frames.encode(message, frames_of_body)])

    def dispatch(self, number: int, command: str, args: dict[str, Any] | None = None, **more: Any) -> None:
        fields = {"timeout": 30.0} | more
        self._send(self._requests, messages.Dispatch(CLIENT, number, 1, command, **fields), args or {})

    def batch(self, command: str, args: list[dict[str, Any]], first: int = 1) -> None:
        for n, each in enumerate(args):
            self.dispatch(first + n, command, each, more=len(args) - 1 - n)

    def open(
        self, session: bytes, metadata: Any = None, epoch: int = 1, ttl: float = 60.0, *, restore: Any = None
    ) -> None:
        order = messages.SessionOpen(session, CLIENT, epoch, ttl, messages.STRICT, restore is not None)
        body = [*encode_body({} if metadata is None else metadata), *(encode_body(restore) if restore else [])]
        self._socket.send_multipart([self._requests, *frames.encode(order, body)])

    def close(self, session: bytes, reason: str = "closed") -> None:
        self._send(self._requests, messages.SessionClose(session, reason))

    def check(self, number: int) -> None:
        self._send(self._requests, messages.Check(number))

    def checked(self) -> messages.Checked:
        """What it said of itself, which is the next that it says."""
        message, _ = self.receive()
        assert isinstance(message, messages.Checked), message
        return message

    def dismiss(self, *, over_control: bool) -> None:
        assert self.register is not None
        peer = self._control if over_control else self._requests
        self._send(peer, messages.Dismiss(self.register.worker))

    def cancel(self, number: int, reason: str = "cancelled") -> None:
        self._send(self._control, messages.WorkerCancel(CLIENT, number, reason))

    def grant(self, number: int, parts: int) -> None:
        self._send(self._control, messages.WorkerGrant(CLIENT, number, parts))

    def stranger(self) -> None:
        """Have it register again, and wait for that."""
        self.register = None
        self.say_stranger()
        while self.register is None:
            self._early.append(self.receive())  # it answers what it has, meanwhile

    def say_stranger(self) -> None:
        self._send(self._requests, messages.Stranger())

    def recall(self, number: int) -> None:
        """Have it give a request back, and wait for that."""
        self._send(self._control, messages.Recall(CLIENT, number, 1))
        assert self.receive()[0] == messages.Returned(CLIENT, number, 1)

    def is_silent(self, seconds: float) -> bool:
        """Whether nothing is said of a request for so long."""
        end = time.monotonic() + seconds
        while self._socket.poll(max(0, int((end - time.monotonic()) * 1000))):
            _, *rest = self._socket.recv_multipart()
            if not isinstance(frames.from_worker.decode(rest)[0], messages.Heartbeat | messages.Beat):
                return False
        return True

    def heard(self, seconds: float) -> bool:
        """Whether anything but a sign of life came within so long; it is `last` then."""
        if not self._socket.poll(int(seconds * 1000)):
            return False
        _, *rest = self._socket.recv_multipart()
        self.last = frames.from_worker.decode(rest)[0]
        self.left = self.left or isinstance(self.last, messages.Leave)
        return not isinstance(self.last, messages.Heartbeat | messages.Beat | messages.Attach)

    def answers(self, count: int) -> dict[int, Any]:
        """So many answers: values, and of errors (code, details, text)."""
        found: dict[int, Any] = {}
        while len(found) < count:
            message, body = self._early.pop() if self._early else self.receive()
            if isinstance(message, messages.WorkerReply):
                found[message.id] = body
            elif isinstance(message, messages.WorkerError):
                found[message.id] = (message.code, body, message.message)
        return found


def run(
    loop: str,
    service: Service,
    script: Callable[[Broker], None],
    *,
    slots: int = 1,
    then: Callable[[Broker], None] = lambda broker: None,
) -> Requests:
    """Run a worker in this thread and the broker's script in another, at whose end SIGTERM comes; `then` the rest."""
    log.clear()
    released.clear()
    while begun.acquire(blocking=False):
        pass
    failures: list[BaseException] = []
    before = signal.getsignal(signal.SIGTERM)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    router, dealer = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    router.bind(ENDPOINT)
    dealer.connect(ENDPOINT)
    options = WorkerOptions("general", "-", (), ENDPOINT, os.urandom(16), slots)
    requests = Requests(options, service)
    running = requests.running
    control = Control(
        context, ENDPOINT, ControlConnection(options.worker, TOKEN), running, Stopping(requests.window), None
    )
    register = messages.Register(options.worker, TOKEN, "general", slots, requests.commands())
    connection = RequestsConnection(register, running.held)

    def play() -> None:
        broker = Broker(router)
        try:
            broker.meet()
            script(broker)
        except BaseException as error:
            failures.append(error)
        while signal.getsignal(signal.SIGTERM) is before:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            then(broker)
        except BaseException as error:
            failures.append(error)

    player = threading.Thread(target=play)
    try:
        control.start()
        player.start()
        if loop == "plain":
            PlainLoop(ZmqDealer(dealer), connection, requests, control).run()
        else:
            trio.run(TrioLoop(dealer, connection, requests, control, None, slots).run)
        player.join()
    finally:
        control.stop()
        requests.window.close()
        signal.signal(signal.SIGTERM, before)
        context.destroy(linger=0)
        requests.page.close()
    if failures:
        raise failures[0]
    return requests


def began() -> None:
    assert begun.acquire(timeout=PATIENCE_S), "it never began"
