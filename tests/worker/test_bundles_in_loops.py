"""Bundles in a worker's two loops: what lies in one has not begun, and an answer that is held has not been given."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest
from test_loops import CLIENT, Broker, Worker, a_worker, at_the_gate, both, gate

from maitred.protocol import frames, messages
from maitred.protocol.bundles import first_of, opened
from maitred.worker import Service, holding

commands = Service()
looking: list[Worker] = []


@commands.command
def look() -> list[int]:
    """What counts as unanswered, among the loops' own books and on the started page."""
    requests = looking[0].requests
    return [len(requests.running.held.keys()), len(requests.page.running())]


@commands.command
def echo() -> str:
    return "here"


def welcome(broker: Broker, *, bundles: bool = True) -> None:
    assert isinstance(broker.receive(), messages.Register)
    broker.send(messages.Welcome(bytes(16), 1.0, 3, 1 << 20, bundles=bundles))


def dispatch(broker: Broker, orders: Sequence[tuple[int, str]]) -> None:
    """Send orders as one bundle."""
    made = [frames.encode(messages.Dispatch(CLIENT, n, 1, name, 30.0), [b"\x80"]) for n, name in orders]
    message, count = first_of(made)
    assert count == len(orders) > 1
    broker.socket.send_multipart([broker._peer, *message])


def receive(broker: Broker) -> list[tuple[Any, Sequence[Any]]]:
    """What comes in the next message of ZeroMQ that is not a heartbeat."""
    while True:
        assert broker.socket.poll(5000), "the worker said nothing"
        _, *raw = broker.socket.recv_multipart()
        came = [frames.from_worker.decode(one) for one in opened(raw) or [raw]]
        if not isinstance(came[0][0], messages.Heartbeat):
            return came


def ids(came: Sequence[tuple[Any, Any]]) -> list[int]:
    assert all(isinstance(message, messages.WorkerReply) for message, _ in came)
    return [message.id for message, _ in came]


@pytest.fixture
def long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that was measured is short, however busy this machine is."""
    monkeypatch.setattr(holding, "SHORT_S", 10.0)
    monkeypatch.setattr(holding, "HOLD_S", 10.0)


@both
def test_a_bundle_of_orders_is_answered_by_one_of_answers_in_order(loop: str, long_enough: None) -> None:
    def script(broker: Broker) -> None:
        welcome(broker)
        dispatch(broker, [(n, "echo") for n in range(1, 11)])
        assert ids(receive(broker)) == list(range(1, 11))

    with a_worker(slots=1) as worker:
        worker.requests.page.narrow(16)
        worker.run(loop, script)
        assert not worker.requests.page.running()
        assert not worker.requests.running.held.keys()


@both
@pytest.mark.parametrize("why", ["not announced", "not short", "too long"])
def test_answers_leave_one_by_one_where_they_may_not_wait(
    loop: str, why: str, long_enough: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if why == "not short":
        monkeypatch.setattr(holding, "SHORT_S", 0.0)
    if why == "too long":
        monkeypatch.setattr(holding, "HOLD_S", 0.0)

    def script(broker: Broker) -> None:
        welcome(broker, bundles=why != "not announced")
        dispatch(broker, [(n, "echo") for n in range(1, 5)])
        assert [ids(receive(broker)) for _ in range(4)] == [[1], [2], [3], [4]]

    with a_worker(slots=1) as worker:
        worker.requests.page.narrow(16)
        worker.run(loop, script)


@both
def test_what_is_held_leaves_before_something_unknown_is_run(loop: str, long_enough: None) -> None:
    def script(broker: Broker) -> None:
        welcome(broker)
        dispatch(broker, [(1, "echo"), (2, "echo"), (3, "wait_at_the_gate"), (4, "echo")])
        assert ids(receive(broker)) == [1, 2]
        gate.set()
        assert ids(receive(broker)) == [3, 4]

    with a_worker(slots=1) as worker:
        worker.requests.page.narrow(16)
        worker.run(loop, script)


@both
def test_an_answer_that_is_held_is_not_given(loop: str, long_enough: None) -> None:
    def script(broker: Broker) -> None:
        welcome(broker)
        broker.dispatch(1, "look")
        ((_, body),) = receive(broker)
        assert body == [b"\x92\x01\x01"]
        dispatch(broker, [(2, "echo"), (3, "echo"), (4, "look")])
        came = receive(broker)
        assert ids(came) == [2, 3, 4]
        assert came[-1][1] == [b"\x92\x03\x03"]

    with a_worker(commands, slots=1) as worker:
        looking[:] = [worker]
        worker.requests.page.narrow(16)
        worker.run(loop, script)
        assert not worker.requests.page.running()


@both
def test_what_lies_in_a_bundle_has_not_begun_and_can_be_recalled(loop: str, long_enough: None) -> None:
    told: list[int] = []

    with a_worker(slots=1) as worker:

        def script(broker: Broker) -> None:
            welcome(broker)
            dispatch(broker, [(1, "echo"), (2, "wait_at_the_gate"), (3, "echo"), (4, "echo")])
            assert at_the_gate.wait(5)
            for number in (1, 2, 3):
                worker.requests.running.recall((CLIENT, number), 1, lambda number=number: told.append(number))
            assert [request.id for request in worker.requests.page.running()] == [2]
            gate.set()
            assert ids(receive(broker)) == [1]
            assert ids(receive(broker)) == [2, 4]

        worker.requests.page.narrow(16)
        worker.run(loop, script)
        assert told == [3]


@both
def test_a_cancel_finds_what_lies_in_a_bundle_by_its_tombstone(loop: str, long_enough: None) -> None:
    with a_worker(slots=1) as worker:

        def script(broker: Broker) -> None:
            welcome(broker)
            dispatch(broker, [(1, "wait_at_the_gate"), (2, "echo")])
            assert at_the_gate.wait(5)
            worker.requests.running.cancel((CLIENT, 2), "cancelled")
            gate.set()
            assert ids(receive(broker)) == [1]
            ((error, _),) = receive(broker)
            assert (error.id, error.code) == (2, "cancelled")

        worker.requests.page.narrow(16)
        worker.run(loop, script)


def test_what_lies_in_a_bundle_at_sigterm_is_left_to_others() -> None:
    def script(broker: Broker) -> None:
        welcome(broker)
        dispatch(broker, [(1, "wait_at_the_gate"), (2, "echo"), (3, "echo")])
        assert at_the_gate.wait(5)
        threading.Timer(0.05, gate.set).start()

    with a_worker(slots=1) as worker:
        worker.requests.page.narrow(16)
        worker.run("plain", script)  # trio hears of the signal at one of its turns, and may have begun the next
        assert ids(receive(worker.broker)) == [1]
        assert isinstance(receive(worker.broker)[0][0], messages.Leave)


@both
def test_what_is_held_while_it_registers_again_is_named_and_answered_after(loop: str, long_enough: None) -> None:
    """An answer that left before the broker knows this worker again would be lost."""

    def script(broker: Broker) -> None:
        welcome(broker)
        made = [frames.encode(messages.Dispatch(CLIENT, n, 1, "echo", 30.0), [b"\x80"]) for n in (1, 2)]
        message, _ = first_of([made[0], frames.encode(messages.Stranger()), made[1]])
        broker.socket.send_multipart([broker._peer, *message])
        order: list[Any] = []
        while len(order) < 3:
            for said, _ in receive(broker):
                if isinstance(said, messages.Register):
                    order.append(sorted(request_id for _, request_id in said.holds))
                    broker.send(messages.Welcome(bytes(16), 1.0, 3, 1 << 20, bundles=True))
                else:
                    order.append(said.id)
        register = next(said for said in order if isinstance(said, list))
        assert sorted(said for said in order[order.index(register) :] if isinstance(said, int)) == register

    with a_worker(slots=1) as worker:
        worker.requests.page.narrow(16)
        worker.run(loop, script)


@both
def test_who_is_asked_how_it_is_gives_the_answers_first_that_it_holds(loop: str, long_enough: None) -> None:
    def script(broker: Broker) -> None:
        welcome(broker)
        orders = [messages.Dispatch(CLIENT, n, 1, "echo", 30.0) for n in (1, 2)]
        made = [*(frames.encode(order, [b"\x80"]) for order in orders), frames.encode(messages.Check(5))]
        made.append(frames.encode(messages.Dispatch(CLIENT, 3, 1, "echo", 30.0), [b"\x80"]))
        message, count = first_of(made)
        assert count == len(made)
        broker.socket.send_multipart([broker._peer, *message])
        said: list[Any] = []
        while len(said) < len(made):
            said += [message for message, _ in receive(broker)]
        assert ids([(message, None) for message in said[:2]]) == [1, 2]
        assert {type(message) for message in said[2:]} == {messages.Checked, messages.WorkerReply}

    with a_worker(commands, slots=1) as worker:
        worker.run(loop, script)
