"""Both loops with their control thread: how functions are stopped, batches, and several functions at a time.

The broker is a socket in the test's own hands, as in test_loops.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio
import zmq

from maitred.protocol import frames, messages
from maitred.protocol.body import decode_body, encode_body
from maitred.protocol.worker import ControlConnection, RequestsConnection
from maitred.worker import Cancelled, Context, Service, plain_loop, stopping, trio_loop
from maitred.worker.control import Control
from maitred.worker.options import WorkerOptions
from maitred.worker.plain_loop import PlainLoop
from maitred.worker.requests import Requests
from maitred.worker.stopping import Stopping
from maitred.worker.trio_loop import TrioLoop

CLIENT, TOKEN = bytes(16), bytes([1]) * 16
ENDPOINT = "inproc://workers"
PATIENCE_S = 5.0

AFTER_S = 0.02
"""Instead of limits.INTERRUPT_AFTER_S."""

service = Service()
begun = threading.Semaphore(0)
log: list[Any] = []

both = pytest.mark.parametrize("loop", ["plain", "trio"])


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
        time.sleep(60)
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
    if any(hangs):
        await trio.sleep_forever()
    return [len(each) for each in text]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "INTERRUPT_AFTER_S", AFTER_S)


class Broker:
    """One ROUTER for a worker's two connections."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket
        self.register: messages.Register | None = None
        self._requests = self._control = b""

    def meet(self) -> None:
        """Welcome both connections."""
        while not self._control:
            self.receive()

    def receive(self) -> tuple[messages.FromWorker, Any]:
        """The next message that says something of a request."""
        while True:
            assert self._socket.poll(PATIENCE_S * 1000), "the worker said nothing"
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
                case messages.Heartbeat() | messages.Beat() | messages.Leave():
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

    def cancel(self, number: int, reason: str = "cancelled") -> None:
        self._send(self._control, messages.WorkerCancel(CLIENT, number, reason))

    def stranger(self) -> None:
        """Have it register again, and wait for that."""
        self.register = None
        self._send(self._requests, messages.Stranger())
        while self.register is None:
            self.receive()

    def recall(self, number: int) -> None:
        """Have it give a request back, and wait for that."""
        self._send(self._control, messages.Recall(CLIENT, number, 1))
        assert self.receive()[0] == messages.Returned(CLIENT, number, 1)

    def answers(self, count: int) -> dict[int, Any]:
        """So many answers: values, and of errors (code, details, text)."""
        found: dict[int, Any] = {}
        while len(found) < count:
            message, body = self.receive()
            if isinstance(message, messages.WorkerReply):
                found[message.id] = body
            elif isinstance(message, messages.WorkerError):
                found[message.id] = (message.code, body, message.message)
        return found


def run(loop: str, service: Service, script: Callable[[Broker], None], *, slots: int = 1) -> Requests:
    """Run a worker in this thread and the broker's script in another, at whose end SIGTERM comes."""
    log.clear()
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

    player = threading.Thread(target=play)
    try:
        control.start()
        player.start()
        if loop == "plain":
            PlainLoop(dealer, connection, requests, control).run()
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


# --- stopping ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loop", "service", "command", "outcome"),
    [
        ("plain", service, "look", "stopped"),
        ("trio", service, "look", "stopped"),
        ("plain", service, "hang", "interrupted"),
        ("trio", service, "hang", "interrupted"),
        ("trio", asynchronous, "look", "stopped"),
        ("trio", asynchronous, "hang", "interrupted"),
        ("trio", asynchronous, "hang_plainly", "interrupted"),
    ],
)
def test_a_running_function_is_stopped_and_the_answer_says_how(
    loop: str, service: Service, command: str, outcome: str
) -> None:
    def script(broker: Broker) -> None:
        for number, (reason, code, details, why) in enumerate(
            [
                ("cancelled", "cancelled", {"outcome": outcome}, "as its caller asked"),
                ("operator", "cancelled", {"outcome": outcome}, "as an operator asked"),
                ("deadline", "deadline_exceeded", {"where": "running"}, "as its time was over"),
                ("client_lost", "cancelled", {"outcome": outcome}, "as its client is gone"),
            ]
        ):
            broker.dispatch(number, command)
            began()
            at = time.monotonic()
            broker.cancel(number, reason)
            told = broker.answers(1)[number]
            assert told[:2] == (code, details)
            assert told[2].endswith(why)
            if outcome == "interrupted" and not service.commands[command].is_async:
                assert time.monotonic() - at >= AFTER_S

    run(loop, service, script)


@both
def test_who_swallows_it_answers_with_a_value(loop: str) -> None:
    def script(broker: Broker) -> None:
        broker.dispatch(1, "swallow")
        began()
        broker.cancel(1, "operator")
        assert broker.answers(1) == {1: "stopped because of operator"}

    run(loop, service, script)


@both
@pytest.mark.parametrize(("hangs", "outcome"), [(True, "interrupted"), (False, "stopped")])
def test_a_stream_is_stopped_in_a_part_or_between_two(loop: str, hangs: bool, outcome: str) -> None:
    def script(broker: Broker) -> None:
        broker.dispatch(1, "parts", {"hangs": hangs}, window=8)
        began()
        broker.cancel(1)
        assert broker.answers(1)[1][1] == {"outcome": outcome}
        assert log == ["closed"]

    run(loop, service, script)


@both
def test_what_has_no_time_left_when_it_comes_is_not_begun(loop: str) -> None:
    """`due` is a time of this clock; without it the time counts from arrival."""

    def script(broker: Broker) -> None:
        broker.dispatch(1, "hang", timeout=30.0, due=time.monotonic() - 0.001)
        broker.dispatch(2, "hang", timeout=0.0)
        broker.cancel(3)
        broker.dispatch(3, "hang", timeout=30.0, due=time.monotonic() + 30)
        broker.batch("embed", [{"text": "a", "hangs": True}] * 2, first=4)
        broker.cancel(4)
        broker.cancel(5)
        answers = broker.answers(5)
        for number in (1, 2):
            assert answers[number][:2] == ("deadline_exceeded", {"where": "queued"})
        assert answers[3][:2] in [("cancelled", {"outcome": o}) for o in ("removed", "interrupted")]

    run(loop, service, script)


@both
@pytest.mark.slow
def test_thousands_of_short_requests_and_cancels_that_race_them(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has one answer, and only what was told to stop is stopped."""
    monkeypatch.setattr(stopping, "INTERRUPT_AFTER_S", 0.0)
    monkeypatch.setattr(stopping, "KNOCK_AGAIN_S", 0.0)
    count, ahead = 2000, 4
    choose = random.Random(1)

    def script(broker: Broker) -> None:
        found: dict[int, Any] = {}
        told: set[int] = set()
        for number in range(count):
            broker.dispatch(number, "short", {"number": number})
            if number >= ahead:
                found |= broker.answers(1)
            if number >= ahead and number % 2:
                other = number - ahead + choose.randrange(3)  # the last one answered, the one that runs, the next
                time.sleep(choose.random() / 2000)
                told.add(other)
                broker.cancel(other)
        found |= broker.answers(count - len(found))
        for number, answer in found.items():
            assert answer == number or (number in told and answer[0] == "cancelled"), (number, answer)
        ends = Counter(answer[1]["outcome"] for answer in found.values() if isinstance(answer, tuple))
        assert ends["interrupted"] > 20, f"it was hardly hit: {ends}"

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # or the control thread would hardly get to run amid a function
    try:
        run(loop, service, script)
    finally:
        sys.setswitchinterval(interval)


# --- batches ----------------------------------------------------------------------------------------------------------


def some(*texts: str, hangs: bool = False) -> list[dict[str, Any]]:
    return [{"text": text, "hangs": hangs} for text in texts]


@pytest.mark.parametrize(
    ("loop", "service", "slots"),
    [("plain", service, 1), ("trio", service, 1), ("trio", service, 2), ("trio", asynchronous, 2)],
)
class TestBatches:
    def test_are_one_call_each(self, loop: str, service: Service, slots: int) -> None:
        def script(broker: Broker) -> None:
            broker.batch("embed", some("a", "bb", "ccc"))
            assert broker.answers(3) == {1: 1, 2: 2, 3: 3}
            broker.batch("embed", some("dddd"), first=4)
            assert broker.answers(1) == {4: 4}
            assert log == [["a", "bb", "ccc"], ["dddd"]]

        requests = run(loop, service, script, slots=slots)
        assert requests.running.held.keys() == []

    def test_whose_rest_does_not_come_are_run_as_they_are(
        self, loop: str, service: Service, slots: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(plain_loop, "IDLE_MS", 20)
        monkeypatch.setattr(trio_loop, "IDLE_S", 0.02)

        def script(broker: Broker) -> None:
            broker.dispatch(1, "embed", some("a")[0], more=2)
            broker.dispatch(2, "embed", some("bb")[0], more=1)
            assert broker.answers(2) == {1: 1, 2: 2}

        run(loop, service, script, slots=slots)

    def test_that_were_cut_by_a_broken_connection_are_held_and_run(
        self, loop: str, service: Service, slots: int
    ) -> None:
        def script(broker: Broker) -> None:
            broker.dispatch(1, "embed", some("a")[0], more=2)
            broker.dispatch(2, "embed", some("bb")[0], more=1)
            broker.stranger()
            assert broker.answers(2) == {1: 1, 2: 2}
            assert broker.register is not None
            assert set(broker.register.holds) <= {(CLIENT, 1), (CLIENT, 2)}
            assert log == [["a", "bb"]]

        run(loop, service, script, slots=slots)

    def test_are_recalled_one_by_one_while_they_gather(self, loop: str, service: Service, slots: int) -> None:
        def script(broker: Broker) -> None:
            broker.dispatch(1, "embed", some("a")[0], more=2)
            broker.dispatch(2, "embed", some("bb")[0], more=1)
            broker.recall(1)
            broker.dispatch(3, "embed", some("ccc")[0])
            assert broker.answers(2) == {2: 2, 3: 3}
            assert log == [["bb", "ccc"]]

        run(loop, service, script, slots=slots)

    def test_of_which_some_are_cancelled_go_on_for_the_others(self, loop: str, service: Service, slots: int) -> None:
        if slots > 1 and service is not asynchronous:
            return  # a thread is told by its flag, which a batch cannot look at

        def script(broker: Broker) -> None:
            broker.batch("embed", some("a", "b", hangs=True))
            began()
            broker.cancel(1)
            broker.cancel(2, "operator")
            answers = broker.answers(2)
            assert [answers[n][1] for n in (1, 2)] == [{"outcome": "interrupted"}] * 2
            assert answers[2][2].endswith("as an operator asked")

        run(loop, service, script, slots=slots)


# --- several at a time ------------------------------------------------------------------------------------------------


def test_so_many_functions_run_at_a_time_as_there_are_slots_and_no_more() -> None:
    def script(broker: Broker) -> None:
        for number in range(4):
            broker.dispatch(number, "meet", {"count": 3})
        assert broker.answers(1)
        broker.answers(3)

    def too_many(broker: Broker) -> None:
        for number in range(4):
            broker.dispatch(number, "meet", {"count": 4}, timeout=0.1)
        for _ in range(3):
            began()
        assert not begun.acquire(timeout=0.03), "a fourth one runs"
        answers = broker.answers(4)
        assert {answer[0] for answer in answers.values() if isinstance(answer, tuple)} == {"deadline_exceeded"}

    run("trio", service, script, slots=3)
    run("trio", service, too_many, slots=3)


def test_a_function_in_a_thread_is_told_by_its_flag_and_streams_under_credit() -> None:
    def script(broker: Broker) -> None:
        broker.dispatch(1, "look")
        broker.dispatch(2, "parts", {"hangs": False}, window=1)
        began()
        began()
        broker.cancel(1)
        broker.cancel(2)
        answers = broker.answers(2)
        assert [answers[n][1] for n in (1, 2)] == [{"outcome": "stopped"}] * 2

    run("trio", service, script, slots=2)
