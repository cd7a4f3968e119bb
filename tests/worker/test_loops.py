"""A worker's two loops against a broker's socket in the test's own hands, over inproc: what is sent has arrived."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import pytest
import trio
import zmq

from maitred.protocol import frames, messages
from maitred.protocol.worker import RequestsConnection
from maitred.transport.dealers import ZmqDealer
from maitred.worker import Service, plain_loop, trio_loop
from maitred.worker.control import Control
from maitred.worker.options import WorkerOptions
from maitred.worker.plain_loop import PlainLoop
from maitred.worker.requests import Requests
from maitred.worker.trio_loop import TrioLoop

CLIENT = bytes(16)
ENDPOINT = "inproc://workers"
PATIENCE_MS = 5000

service = Service()
gate, at_the_gate = threading.Event(), threading.Event()

both = pytest.mark.parametrize("loop", ["plain", "trio"])


@service.command
def echo() -> str:
    return "here"


@service.command
def wait_at_the_gate() -> None:
    at_the_gate.set()
    gate.wait(5)


asynchronous = Service()


@asynchronous.command
async def nap_in_a_nursery() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep, 30)
        nursery.start_soon(trio.sleep, 30)


@asynchronous.command
async def yield_in_a_nursery() -> AsyncIterator[int]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        while True:
            await trio.lowlevel.checkpoint()
            yield 1


class Broker:
    """One ROUTER, for one worker."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.socket = context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.socket.setsockopt(zmq.RCVHWM, 1)
        self.socket.bind(ENDPOINT)
        self._peer = b""

    def receive(self) -> messages.FromWorker:
        """The next message but heartbeats."""
        while True:
            assert self.socket.poll(PATIENCE_MS), "the worker said nothing"
            self._peer, *rest = self.socket.recv_multipart()
            message, _ = frames.from_worker.decode(rest)
            if not isinstance(message, messages.Heartbeat):
                return message

    def send(self, message: messages.Message, *body: bytes) -> None:
        self.socket.send_multipart([self._peer, *frames.encode(message, list(body))])

    def dispatch(self, request_id: int, command: str = "echo", timeout: float = 30.0) -> None:
        self.send(messages.Dispatch(CLIENT, request_id, 1, command, timeout), b"\x80")

    def welcome(self) -> None:
        """Let the worker register."""
        assert isinstance(self.receive(), messages.Register)
        self.send(messages.Welcome(bytes(16), 1.0, 3, 1 << 20))


class NoControl(Control):
    """There is no second connection."""

    def __init__(self) -> None:
        pass

    def begin(self, interval: float) -> None:
        pass


class Worker:
    """What a test may look at."""

    def __init__(self, service: Service, slots: int, connected: bool) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.broker = Broker(self.context)
        self._slots = slots
        self._socket = self.context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.SNDHWM, 1)
        if connected:
            self._socket.connect(ENDPOINT)
        options = WorkerOptions("general", "-", (), ENDPOINT, os.urandom(16), slots)
        self.requests = Requests(options, service)
        register = messages.Register(options.worker, bytes(16), "general", slots, self.requests.commands())
        self._connection = RequestsConnection(register, self.requests.running.held)

    def run(self, loop: str, script: Callable[[Broker], None]) -> None:
        """Run the loop in this thread and the broker's script in another, at whose end SIGTERM comes."""
        failures: list[BaseException] = []
        before = signal.getsignal(signal.SIGTERM)

        def play() -> None:
            try:
                script(self.broker)
            except BaseException as error:
                failures.append(error)
            finally:
                while signal.getsignal(signal.SIGTERM) is before:
                    time.sleep(0.001)
                os.kill(os.getpid(), signal.SIGTERM)

        player = threading.Thread(target=play)
        player.start()
        if loop == "plain":
            PlainLoop(ZmqDealer(self._socket), self._connection, self.requests, NoControl()).run()
        else:
            trio.run(TrioLoop(self._socket, self._connection, self.requests, NoControl(), None, self._slots).run)
        player.join()
        if failures:
            raise failures[0]


@contextmanager
def a_worker(service: Service = service, slots: int = 8, *, connected: bool = True) -> Iterator[Worker]:
    gate.clear()
    at_the_gate.clear()
    worker = Worker(service, slots, connected)
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield worker
    finally:
        signal.signal(signal.SIGTERM, before)
        worker.requests.window.close()
        worker.context.destroy(linger=0)
        worker.requests.page.close()


@both
def test_sigterm_lets_what_runs_finish_and_leaves(loop: str) -> None:
    def script(broker: Broker) -> None:
        broker.welcome()
        broker.dispatch(1)
        assert isinstance(broker.receive(), messages.WorkerReply)
        broker.dispatch(2, "wait_at_the_gate")
        assert at_the_gate.wait(5)
        threading.Timer(0.02, gate.set).start()

    with a_worker() as worker:
        worker.run(loop, script)
        assert isinstance(worker.broker.receive(), messages.WorkerReply)
        assert isinstance(worker.broker.receive(), messages.Leave)


@both
def test_sigterm_ends_a_worker_that_has_never_reached_a_broker(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_loop, "WAIT_FOR_BROKER_S", 0.02)

    with a_worker(connected=False) as worker:
        worker.run(loop, lambda _: None)
        assert not worker.requests.page.ready


@both
def test_a_worker_that_is_a_stranger_takes_all_that_has_arrived_and_registers_once(loop: str) -> None:
    """What it does not name as held counts as lost: run again, or failed."""
    order: list[tuple[str, list[int]]] = []

    def script(broker: Broker) -> None:
        broker.welcome()
        broker.dispatch(1, "wait_at_the_gate")
        assert at_the_gate.wait(5)
        broker.send(messages.Stranger())
        broker.dispatch(2)
        broker.send(messages.Stranger())
        broker.dispatch(3)
        gate.set()
        while len(order) < 4:
            match broker.receive():
                case messages.WorkerReply() as reply:
                    order.append(("reply", [reply.id]))
                case messages.Register() as register:
                    order.append(("register", [request_id for _, request_id in register.holds]))
                    broker.send(messages.Welcome(bytes(16), 1.0, 3, 1 << 20))
                case other:
                    raise AssertionError(other)

    with a_worker(slots=1) as worker:  # so that the function holds the loop until all has been sent
        worker.run(loop, script)
        assert isinstance(worker.broker.receive(), messages.Leave)
    registers = [at for at, (what, _) in enumerate(order) if what == "register"]
    assert len(registers) == 1
    unanswered = {ids[0] for what, ids in order[registers[0] :] if what == "reply"}
    assert set(order[registers[0]][1]) == unanswered


@both
def test_a_request_whose_answer_could_not_be_sent_was_begun(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither LEAVE nor the started page may give it away to be run again."""
    monkeypatch.setattr(plain_loop, "WAIT_FOR_BROKER_S", 0.02)
    monkeypatch.setattr(trio_loop, "WAIT_FOR_BROKER_S", 0.02)

    with a_worker() as worker:

        def script(broker: Broker) -> None:
            broker.welcome()
            for request_id in range(1, 7):
                broker.dispatch(request_id, "echo")
            stuck_for = 0
            while stuck_for < 20:
                time.sleep(0.001)
                stuck_for = stuck_for + 1 if worker.requests.page.running() else 0

        worker.run(loop, script)
        answered: list[int] = []
        while worker.broker.socket.poll(20):
            message = worker.broker.receive()
            assert isinstance(message, messages.WorkerReply)
            answered.append(message.id)
        stuck = [request.id for request in worker.requests.page.running()]
        assert stuck
        assert not set(stuck) & set(answered)


@pytest.mark.parametrize("command", ["nap_in_a_nursery", "yield_in_a_nursery"])
def test_what_a_nursery_makes_of_the_end_of_its_time_is_the_end_of_its_time(command: str) -> None:
    errors: list[messages.WorkerError] = []

    def script(broker: Broker) -> None:
        broker.welcome()
        broker.dispatch(1, command, timeout=0.02)
        message = broker.receive()
        assert isinstance(message, messages.WorkerError)
        errors.append(message)

    with a_worker(asynchronous) as worker:
        worker.run("trio", script)
    assert errors[0].code == "deadline_exceeded"
