"""Sessions in both loops: opened, used in order, kept, moved, closed, and announced to a broker that may not know them."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import trio
from worker_peers import CLIENT, Broker, began, begun, log, released, run

from maitred.protocol import messages
from maitred.worker import Context, Service, Session, plain_loop, snapshots, trio_loop

A, B = bytes([0xA]) * 16, bytes([0xB]) * 16

Case = tuple[str, bool, int]


class Thing:
    """What a state may hold, and a weak reference can watch."""


def counting(is_async: bool, **options: Any) -> Service:
    """A service whose sessions count, and log what happens to them."""
    service = Service()
    threads: set[int] = set()

    def opened(session: Session, context: Context) -> None:
        assert context.session is session
        log.append(("opened", session.id[:2], session.metadata, session.epoch))
        if session.metadata.get("raises"):
            raise LookupError("no room")
        session.state["n"] = 0

    def closed(session: Session, reason: str) -> None:
        log.append(("closed", session.id[:2], reason, session.state["n"]))
        if session.metadata.get("raises at the end"):
            raise RuntimeError("never mind")

    def snapshot(session: Session) -> Any:
        assert not session.state.get("in use"), "a state is taken between requests"
        log.append(("snapshot", session.id[:2]))
        return session.state["n"] or None

    def restore(session: Session, value: Any) -> None:
        log.append(("restore", session.id[:2], value))
        if value == "bad":
            raise ValueError("bad")
        session.state["n"] = value

    @service.command
    def add(by: int = 1, hangs: bool = False, raises: bool = False, *, context: Context) -> int:
        session = context.session
        assert session is not None
        assert not session.state.get("in use"), "one at a time"
        session.state["in use"] = True
        threads.add(threading.get_ident())
        log.append(("add", session.id[:2], by))
        if hangs:
            begun.release()
            released.wait(60)
        session.state["n"] += by
        del session.state["in use"]
        if raises:
            raise ArithmeticError
        return session.state["n"]

    @service.command
    def nobody(context: Context) -> bool:
        return context.session is None

    if is_async:

        @service.command("add_later")
        async def add_later(by: int = 1, hangs: bool = False, *, context: Context) -> int:
            await trio.lowlevel.checkpoint()
            if hangs:
                begun.release()
            while hangs and not released.is_set():  # noqa: ASYNC110 - another thread sets it
                await trio.sleep(0.001)
            return add(by, context=context)

    service.session_opened(later(opened, 2) if is_async else opened)
    service.session_closed(later(closed, 2) if is_async else closed)
    service.snapshot(**options)(later(snapshot, 1) if is_async else snapshot)
    service.restore(later(restore, 2) if is_async else restore)
    return service


def later(function: Any, count: int) -> Any:
    """The same, with something to wait for before it."""

    async def one(a: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return function(a)

    async def two(a: Any, b: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return function(a, b)

    return one if count == 1 else two


@pytest.fixture(params=[("plain", False, 1), ("trio", False, 1), ("trio", True, 1), ("trio", True, 4)], ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


def said(broker: Broker) -> tuple[messages.FromWorker, Any]:
    """The next word about a request or a session."""
    while True:
        message, body = broker.receive()
        if not isinstance(message, messages.Attach):
            return message, body


def snapshot_of(broker: Broker) -> tuple[bytes, int, int, Any]:
    message, body = said(broker)
    assert isinstance(message, messages.Snapshot), message
    return message.session, message.epoch, message.served, body


def seen(kind: str) -> list[Any]:
    return [each for each in log if each[0] == kind]


def test_a_session_has_a_life(case: Case) -> None:
    loop, is_async, slots = case

    def script(broker: Broker) -> None:
        broker.open(A, {"who": "me"})
        broker.dispatch(1, "add", {"by": 2}, session=A)
        broker.dispatch(2, "add", {"by": 3}, session=A)
        broker.dispatch(3, "nobody")
        assert broker.answers(3) == {1: 2, 2: 5, 3: True}
        broker.close(A)
        broker.dispatch(4, "add", session=A)
        (code, details, text) = broker.answers(1)[4]
        assert (code, details) == ("session_not_found", {"session": A.hex()})
        assert A.hex() in text

    requests = run(loop, counting(is_async), script, slots=slots)
    assert not requests.sessions.all()
    assert seen("opened") == [("opened", "0a", {"who": "me"}, 1)]
    assert seen("closed") == [("closed", "0a", "closed", 5)]
    assert log.index(("opened", "0a", {"who": "me"}, 1)) < log.index(("add", "0a", 2)) < log.index(("add", "0a", 3))


def test_its_state_follows_the_answer_and_is_sent_where_it_changed(case: Case) -> None:
    loop, is_async, slots = case

    def script(broker: Broker) -> None:
        broker.open(A, epoch=7)
        broker.dispatch(1, "add", {"by": 0}, session=A)  # None: nothing to keep
        assert broker.receive()[1] == 0
        broker.dispatch(2, "add", session=A)
        assert broker.receive()[1] == 1
        assert snapshot_of(broker) == (A, 7, 2, 1)
        broker.dispatch(3, "add", {"by": 0}, session=A)  # the same again
        assert broker.receive()[1] == 1
        broker.dispatch(4, "add", {"raises": True}, session=A)  # not a state that anybody wants back
        assert isinstance(broker.receive()[0], messages.WorkerError)
        broker.dispatch(5, "add", session=A)
        assert broker.receive()[1] == 3
        assert snapshot_of(broker) == (A, 7, 5, 3)

    run(loop, counting(is_async), script, slots=slots)
    assert len(seen("snapshot")) == 4


def test_requests_of_one_session_run_one_at_a_time_and_in_order(case: Case) -> None:
    loop, is_async, slots = case

    def script(broker: Broker) -> None:
        for session in (A, B):
            broker.open(session)
        for n in range(20):
            broker.dispatch(n + 1, "add_later" if is_async and n % 3 else "add", {"by": 1 << n}, session=(A, B)[n % 2])
        found = broker.answers(20)
        assert [found[n + 1] for n in range(20)] == [sum(1 << m for m in range(n % 2, n + 1, 2)) for n in range(20)]

    run(loop, counting(is_async), script, slots=slots)


def test_closing_waits_for_the_request_that_runs() -> None:
    def script(broker: Broker) -> None:
        broker.open(A)
        broker.open(B)
        broker.dispatch(1, "add", {"hangs": True}, session=A)
        broker.dispatch(2, "add", session=A)
        began()
        broker.close(A, "expired")
        broker.open(A, {"again": True}, epoch=2)
        broker.dispatch(3, "add", {"by": 10}, session=A)
        broker.dispatch(4, "add", session=B)
        assert broker.answers(1) == {4: 1}
        assert not seen("closed")
        released.set()
        assert broker.answers(3) == {1: 1, 2: 2, 3: 10}

    run("trio", counting(True), script, slots=4)
    assert seen("closed")[0] == ("closed", "0a", "expired", 2)


def test_it_moves_here_with_its_state(case: Case) -> None:
    loop, is_async, slots = case

    def script(broker: Broker) -> None:
        broker.open(A, {"who": "me"}, epoch=2, restore=40)
        broker.dispatch(1, "add", {"by": 2}, session=A)
        assert broker.answers(1) == {1: 42}

    run(loop, counting(is_async), script, slots=slots)
    assert log[:2] == [("opened", "0a", {"who": "me"}, 2), ("restore", "0a", 40)]


@pytest.mark.parametrize(
    ("metadata", "value", "raised"), [({"raises": 1}, None, "LookupError: no room"), ({}, "bad", "ValueError: bad")]
)
def test_what_cannot_be_opened_is_told_and_forgotten(case: Case, metadata: Any, value: Any, raised: str) -> None:
    loop, is_async, slots = case

    def script(broker: Broker) -> None:
        broker.open(A, metadata, epoch=3, restore=value)
        message, details = broker.receive()
        assert message == messages.SessionFailed(A, 3, raised)
        assert raised in details["traceback"]
        assert "test_sessions_in_loops" in details["traceback"]
        broker.dispatch(1, "add", session=A)  # it was on its way
        code, details, text = broker.answers(1)[1]
        assert (code, details) == ("session_lost", {"session": A.hex(), "reason": "failed"})
        assert raised in text

    run(loop, counting(is_async), script, slots=slots)
    assert [each[2] for each in seen("closed")] == (["failed"] if value else [])


def test_it_ends_with_the_process_state_first(case: Case) -> None:
    loop, is_async, slots = case
    found: list[Any] = []

    def script(broker: Broker) -> None:
        for session in (A, B):
            broker.open(session, {"raises at the end": True})
            for n in (1, 2):  # the state after the first is sent at once, and the second's an hour later, or now
                broker.dispatch(session[0] + n * 100, "add", session=session)
        assert sorted(broker.answers(4).values()) == [1, 1, 2, 2]

    def then(broker: Broker) -> None:
        while len(found) < 3:
            end = time.monotonic() + 5
            while not broker.heard(0.01):
                assert time.monotonic() < end
            found.append(broker.last)

    run(loop, counting(is_async, interval="1h"), script, slots=slots, then=then)
    assert [type(message) for message in found] == [messages.Snapshot, messages.Snapshot, messages.Leave]
    assert [each[0] for each in log[-4:]] == ["snapshot", "snapshot", "closed", "closed"]
    assert {each[2] for each in seen("closed")} == {"drain"}


@pytest.mark.parametrize("interval", ["500ms", "1h"])  # the four that follow one another take less
def test_the_last_state_is_taken_when_the_interval_or_the_session_rests(
    case: Case, interval: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, is_async, slots = case
    monkeypatch.setattr(snapshots, "IDLE_S", 0.05 if interval == "1h" else 60)
    # It does not wait for the loop's own idle moment; a signal that comes just before the loop sleeps does.
    monkeypatch.setattr(plain_loop, "IDLE_S", 20.0)

    def script(broker: Broker) -> None:
        broker.open(A)
        broker.dispatch(1, "add", session=A)
        assert broker.answers(1) == {1: 1}
        assert snapshot_of(broker)[3] == 1
        for n in range(2, 6):
            broker.dispatch(n, "add", session=A)
        assert broker.answers(4) == {n: n for n in range(2, 6)}
        rests = time.monotonic()
        assert snapshot_of(broker) == (A, 1, 5, 5)
        assert time.monotonic() - rests < 10

    run(loop, counting(is_async, interval=interval), script, slots=slots)
    assert len(seen("snapshot")) == 2


def test_a_state_that_is_due_waits_for_the_request_that_changes_it(caplog: pytest.LogCaptureFixture) -> None:
    def script(broker: Broker) -> None:
        broker.open(A)
        for n in (1, 2):
            broker.dispatch(n, "add", session=A)
        assert broker.answers(2) == {1: 1, 2: 2}  # the first one's state leaves at once, the second's is due in 50 ms
        broker.dispatch(3, "add", {"hangs": True}, session=A)
        began()
        assert broker.is_silent(0.15)
        released.set()
        assert broker.answers(1) == {3: 3}
        assert snapshot_of(broker) == (A, 1, 3, 3)

    run("trio", counting(True, interval="50ms"), script, slots=4)
    assert not caplog.records, "the hook itself looks"


def test_the_order_holds_where_all_is_taken_in_at_once(case: Case) -> None:
    """After STRANGER what has arrived is taken before the worker says what it holds; it is done in the order it came."""
    loop, is_async, slots = case
    if (loop, slots) == ("trio", 1):
        return  # nothing comes in while a plain function holds the loop

    def script(broker: Broker) -> None:
        broker.open(A)
        broker.dispatch(1, "add", {"hangs": True}, session=A)
        began()
        broker.say_stranger()
        broker.dispatch(2, "add", session=A)
        broker.close(A)
        broker.dispatch(3, "add", session=A)
        broker.open(A, {"again": True}, epoch=2)
        broker.dispatch(4, "add", session=A)
        released.set()
        answers = broker.answers(4)
        assert [answers[n] for n in (1, 2, 4)] == [1, 2, 1]
        assert answers[3][0] == "session_not_found"

    run(loop, counting(is_async), script, slots=slots)
    assert [each[1:] for each in seen("closed")] == [("0a", "closed", 2), ("0a", "drain", 1)]


def test_a_broker_that_may_not_know_it_is_told(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    loop, is_async, slots = case

    def script(broker: Broker) -> None:
        broker.open(A, {"who": "me"}, epoch=4, ttl=50.0)
        broker.dispatch(1, "add", session=A)
        assert broker.answers(1) == {1: 1}
        assert snapshot_of(broker)[3] == 1
        broker.stranger()
        message, metadata = said(broker)
        assert isinstance(message, messages.SessionHeld)
        assert (message.session, message.client, message.epoch, message.ttl) == (A, CLIENT, 4, 50.0)
        assert 40 < message.left <= 50
        assert (message.served, metadata) == (1, {"who": "me"})
        assert snapshot_of(broker) == (A, 4, 1, 1)
        broker.close(A, "lost")
        broker.dispatch(2, "add", session=A)
        assert broker.answers(1)[2][0] == "session_not_found"

    run(loop, counting(is_async), script, slots=slots)
    assert seen("closed") == [("closed", "0a", "lost", 1)]


def test_one_that_is_still_to_be_opened_is_told_too() -> None:
    """Its order lies in the line, behind what runs, when the connection breaks: nobody would ever close it."""

    def script(broker: Broker) -> None:
        broker.open(A)
        broker.dispatch(1, "add_later", {"hangs": True}, session=A)
        began()
        broker.open(B, epoch=5)
        broker.dispatch(2, "add", session=B)
        broker.stranger()
        first = said(broker)[0]
        assert isinstance(first, messages.SessionHeld)
        assert first.session == A
        released.set()
        others = [said(broker)[0] for _ in range(5)]
        held = [each for each in others if isinstance(each, messages.SessionHeld)]
        assert [(each.session, each.epoch) for each in held] == [(B, 5)]
        assert broker.register is not None
        assert set(broker.register.holds) == {(CLIENT, 1), (CLIENT, 2)}

    run("trio", counting(True), script)


def test_nothing_of_it_stays(case: Case) -> None:
    loop, is_async, slots = case
    service, watched = Service(), list[weakref.ref[Any]]()

    @service.command
    def fill(context: Context) -> Iterator[int]:
        session = context.session
        assert session is not None
        thing = Thing()
        session.state["thing"] = thing
        session.state["itself"] = session  # a cycle, which no collector has to find
        watched.extend([weakref.ref(thing), weakref.ref(session)])
        yield 1

    if is_async:

        @service.command
        async def anything() -> None: ...

    def script(broker: Broker) -> None:
        broker.open(A)
        broker.dispatch(1, "fill", session=A, window=4)
        while not isinstance(broker.receive()[0], messages.WorkerReply):
            pass
        assert all(each() is not None for each in watched)
        broker.close(A, "expired")
        broker.dispatch(2, "fill", session=A)
        assert broker.answers(1)[2][0] == "session_not_found"
        assert [each() for each in watched] == [None, None]

    run(loop, service, script, slots=slots)


def test_what_is_too_large_is_not_sent_and_said_once(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    loop, is_async, slots = case

    def script(broker: Broker) -> None:
        broker.open(A)
        for n in (1, 2):
            broker.dispatch(n, "add", {"by": 1 << 40}, session=A)
            assert broker.answers(1) == {n: n << 40}
        assert broker.is_silent(0.05)

    run(loop, counting(is_async, max_bytes=4), script, slots=slots)
    warnings = [each.getMessage() for each in caplog.records]
    assert len(warnings) == 1
    assert "a state of 9 bytes; at most 4 are sent" in warnings[0]


def test_idle_loops_collect_what_sessions_left(monkeypatch: pytest.MonkeyPatch, case: Case) -> None:
    loop, is_async, slots = case
    monkeypatch.setattr(plain_loop, "IDLE_S", 0.02)
    monkeypatch.setattr(trio_loop, "IDLE_S", 0.02)
    collected = threading.Semaphore(0)
    monkeypatch.setattr("maitred.worker.session_orders.gc.collect", collected.release)

    def script(broker: Broker) -> None:
        broker.open(A)
        broker.close(A)
        assert collected.acquire(timeout=5)
        assert not collected.acquire(timeout=0.05)

    run(loop, counting(is_async), script, slots=slots)
