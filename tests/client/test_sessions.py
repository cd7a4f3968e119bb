"""A session of the synchronous client: opened, used, renewed and closed; and its end is told once."""

from __future__ import annotations

import datetime
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from scripted_broker import ScriptedBroker
from session_broker import CERTIFICATE, House, end, said

from maitred.client import Client, Session
from maitred.client.errors import (
    DeadlineExceeded,
    EncodeError,
    InvalidArgument,
    MaitredError,
    PoolSaturated,
    RequestCancelled,
    SessionLost,
    SessionNotFound,
    SessionPoolMismatch,
    Unavailable,
)
from maitred.client.exchange import Exchange
from maitred.client.lease import Lease
from maitred.client.opening import Wanted
from maitred.protocol import frames
from maitred.protocol import messages as m
from maitred.protocol.body import encode_body
from maitred.protocol.client import ClientConnection, Replied
from maitred.protocol.client_events import SessionEndedEvent

WITHIN_S = 5.0
Make = Callable[..., ScriptedBroker]


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def broker(make_broker: Make, house: House) -> ScriptedBroker:
    return make_broker(house.answers)


@pytest.fixture
def client(broker: ScriptedBroker) -> Iterator[Client]:
    with Client(broker.clients, connect_timeout=1.0) as client:
        yield client


def sessions_of(broker: ScriptedBroker) -> list[bytes | None]:
    return [request.session for request in broker.requests]


# --- opening, using, closing ---


def test_a_block_opens_a_session_and_closes_it(client: Client, broker: ScriptedBroker) -> None:
    before = datetime.datetime.now(datetime.UTC)
    with client.session("neural", ttl=7200, metadata={"user": "ada"}, affinity="fail_fast") as session:
        assert isinstance(session, Session)
        (opened,) = [message for _, message in broker.said]
        assert opened == m.Open(opened.id, bytes.fromhex(session.id), "neural", 7200.0, m.FAIL_FAST)
        assert (session.pool, session.ttl, session.epoch) == ("neural", 7200.0, 1)
        assert session.metadata.items() >= {"user": "ada", "pool": "neural"}.items()
        at = datetime.datetime.fromisoformat(session.metadata["created_at"])
        assert at.utcoffset() == datetime.timedelta()
        assert abs(at - before) < datetime.timedelta(seconds=60)
        assert not session.closed
        assert not said(broker, "close")
    assert session.closed
    assert session.lost is None
    assert said(broker, "close") == [bytes.fromhex(session.id)]


def test_it_works_without_a_block_and_closing_is_repeatable(client: Client, broker: ScriptedBroker) -> None:
    session = client.session("neural")
    assert session.ttl == 600.0  # the pool's
    assert session.execute("echo", {"n": 1}) == {"n": 1}
    session.close()
    session.close()
    assert said(broker, "close") == [bytes.fromhex(session.id)]


def test_every_verb_says_whose_it_is(client: Client, broker: ScriptedBroker) -> None:
    with client.session("neural") as session:
        assert session.execute("echo", {"n": 1}, timeout=5, affinity="prefer") == {"n": 1}
        assert list(session.stream("echo", {"n": 2}, priority="low")) == [{"n": 2}]
        assert session.submit("echo", {"n": 3}).result(WITHIN_S) == {"n": 3}
        assert [row["n"] for row in session.map("echo", ({"n": n} for n in range(4)), window=2)] == [0, 1, 2, 3]
        assert client.execute("neural", "echo", {"n": 5}, session=session) == {"n": 5}
        assert client.execute(None, "echo", {"n": 6}, session=session.id) == {"n": 6}
        assert client.execute(None, "echo", {"n": 7}, session=session) == {"n": 7}
        assert set(sessions_of(broker)) == {bytes.fromhex(session.id)}
        assert broker.requests[0].affinity == m.PREFER
        assert {request.affinity for request in broker.requests[1:]} == {None}
        assert [request.pool for request in broker.requests][-2:] == [None, "neural"]
    client.execute("neural", "echo")
    assert sessions_of(broker)[-1] is None


def test_two_sessions_are_two(client: Client) -> None:
    with client.session("neural") as first, client.session("neural") as second:
        assert first.id != second.id
        assert len(client.sessions()) == 2
    assert client.sessions() == []


@pytest.mark.parametrize(
    ("options", "error", "word"),
    [
        ({}, InvalidArgument, "pool"),
        ({"pool": ""}, InvalidArgument, "pool"),
        ({"pool": "neural", "ttl": 0}, ValueError, "ttl"),
        ({"pool": "neural", "ttl": "2h"}, ValueError, "ttl"),
        ({"pool": "neural", "affinity": "sticky"}, ValueError, "affinity"),
        ({"pool": "neural", "timeout": -1}, ValueError, "timeout"),
        ({"pool": "neural", "metadata": {"x": object()}}, EncodeError, "metadata|x"),
        ({"pool": "neural", "metadata": {"x": bytes(100_000)}}, InvalidArgument, "metadata"),
        ({"id": "abc"}, ValueError, "32 hexadecimal"),
        ({"id": "ab" * 16, "ttl": 1}, ValueError, "who opens"),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_is_sent(
    client: Client, broker: ScriptedBroker, options: dict[str, Any], error: type[Exception], word: str
) -> None:
    with pytest.raises(error, match=word):
        client.session(**options)
    assert not broker.said


def test_options_of_a_call_are_checked_too(client: Client) -> None:
    with pytest.raises(ValueError, match="32 hexadecimal"):
        client.execute("neural", "echo", session="mine")
    with pytest.raises(ValueError, match="was given"):
        client.execute("neural", "echo", affinity="prefer")
    with client.session("neural") as session, pytest.raises(ValueError, match="affinity"):
        session.execute("echo", affinity="sticky")  # pyright: ignore[reportArgumentType]


def test_a_pool_that_has_no_room_for_a_session_says_so(client: Client, broker: ScriptedBroker) -> None:
    with pytest.raises(PoolSaturated) as caught:
        client.session("full")
    assert caught.value.reason == "max_sessions"
    assert client.execute("neural", "echo") == {}


def test_whoever_waits_too_long_for_a_worker_leaves_nothing_open(
    client: Client, broker: ScriptedBroker, house: House
) -> None:
    house.silent = True
    with pytest.raises(DeadlineExceeded) as caught:
        client.session("neural", timeout=0.05)
    assert caught.value.where == "queued"
    broker.wait(lambda: said(broker, "close") == said(broker, "open"))


def test_no_broker_is_said(make_broker: Make) -> None:
    with Client("tcp://127.0.0.1:1", connect_timeout=0.05) as client, pytest.raises(Unavailable):
        client.session("neural")


def test_closing_the_client_first_leaves_the_session_to_its_ttl(
    client: Client, broker: ScriptedBroker, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[MaitredError] = []
    with client.session("neural", on_lost=told.append) as session:
        client.close()
    assert not said(broker, "close")
    assert "lives on" in caplog.text
    assert session.lost is None
    assert not told


def test_an_error_in_the_block_is_not_hidden(client: Client, house: House, broker: ScriptedBroker) -> None:
    def fail_amid(session: Session) -> None:
        with session:
            house.errors[bytes.fromhex(session.id)] = ("unavailable", {"reason": "draining"})
            raise LookupError("the user's own")

    session = client.session("neural")
    with pytest.raises(LookupError):
        fail_amid(session)
    assert session.closed
    assert said(broker, "close")


# --- after closing ---


def test_a_session_that_was_closed_here_is_not_asked_for_again(client: Client, broker: ScriptedBroker) -> None:
    with client.session("neural") as session:
        pass
    before = len(broker.said)
    for act in (
        lambda: session.execute("echo"),
        lambda: next(session.stream("echo")),
        lambda: session.submit("echo"),
        lambda: session.renew(),
        lambda: client.execute("neural", "echo", session=session),
    ):
        with pytest.raises(SessionNotFound) as caught:
            act()
        assert (caught.value.session, caught.value.reason) == (session.id, "closed")
    assert len(broker.said) == before


# --- attaching ---


def test_another_client_attaches_and_leaves_it_open(client: Client, broker: ScriptedBroker) -> None:
    with client.session("neural", ttl=60, metadata={"user": "ada"}) as session, Client(broker.clients) as other:
        with other.session(id=session.id) as attached:
            assert (attached.id, attached.pool, attached.ttl) == (session.id, "neural", 60)
            assert attached.metadata == session.metadata
            assert attached.execute("echo", {"n": 1}) == {"n": 1}
        assert not said(broker, "close")
        assert not attached.closed
        other.session("neural", id=session.id).close()
        assert said(broker, "close") == [bytes.fromhex(session.id)]


def test_what_cannot_be_attached_to_is_said(client: Client, broker: ScriptedBroker) -> None:
    with pytest.raises(SessionNotFound) as caught:
        client.session(id="ab" * 16)
    assert caught.value.session == "ab" * 16
    with client.session("neural") as session:
        with pytest.raises(SessionPoolMismatch) as mismatch:
            client.session("general", id=session.id)
        assert (mismatch.value.session, mismatch.value.pool) == (session.id, "neural")
        assert session.execute("echo") == {}
        assert not said(broker, "close")


def test_a_forked_child_leaves_its_parent_s_session_open(client: Client, broker: ScriptedBroker) -> None:
    with client.session("neural") as session:
        pid = os.fork()
        if pid == 0:
            try:
                session.__exit__(None, None, None)
                os._exit(0)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert session.execute("echo") == {}
        assert not said(broker, "close")


# --- renewing ---


def test_it_is_renewed_while_the_block_is_open_and_only_where_asked_for(client: Client, broker: ScriptedBroker) -> None:
    with client.session("neural", ttl=0.15) as idle, client.session("neural", ttl=0.15, keep_alive=True) as session:
        broker.wait(lambda: len(said(broker, "renew")) >= 3)
        assert set(said(broker, "renew")) == {bytes.fromhex(session.id)}
        idle.renew()
        assert bytes.fromhex(idle.id) in said(broker, "renew")
    count = len(said(broker, "renew"))
    time.sleep(0.12)
    assert len(said(broker, "renew")) == count


def test_a_session_that_has_ended_is_not_renewed(client: Client, broker: ScriptedBroker, house: House) -> None:
    with client.session("neural", ttl=0.06, keep_alive=True) as session:
        broker.wait(lambda: said(broker, "renew"))
        house.rows.clear()
        count = len(said(broker, "renew"))
        time.sleep(0.1)
        assert len(said(broker, "renew")) <= count + 1
        with pytest.raises(SessionNotFound):
            session.renew()


def test_one_renewal_is_under_way_at_a_time(client: Client, broker: ScriptedBroker, house: House) -> None:
    with client.session("neural", ttl=0.03, keep_alive=True):
        broker.wait(lambda: len(said(broker, "renew")) >= 2)
        house.silent = True
        count = len(said(broker, "renew"))
        time.sleep(0.1)
        assert len(said(broker, "renew")) <= count + 1


@pytest.mark.slow
def test_renewing_outlives_a_broker_that_is_away(make_broker: Make, house: House) -> None:
    first = make_broker(house.answers)
    with Client(first.clients, connect_timeout=0.3) as client, client.session("neural", ttl=0.15, keep_alive=True):
        first.wait(lambda: said(first, "renew"))
        first.close()
        time.sleep(1.0)
        second = ScriptedBroker(first.clients, house.answers)
        try:
            second.wait(lambda: said(second, "attach") and len(said(second, "renew")) >= 2)
        finally:
            client.close()
            second.close()


# --- its end ---


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("lost", SessionLost),
        ("drain", SessionLost),
        ("failed", SessionLost),
        ("another", SessionLost),
        ("expired", SessionNotFound),
        ("closed", SessionNotFound),
    ],
)
def test_its_end_is_told_once_in_the_background(
    client: Client, broker: ScriptedBroker, reason: str, kind: type[MaitredError]
) -> None:
    told: list[tuple[MaitredError, str]] = []
    with client.session(
        "neural", on_lost=lambda error: told.append((error, threading.current_thread().name))
    ) as session:
        end(broker, session.id, reason, certificate=CERTIFICATE)
        end(broker, session.id, reason)
        broker.wait(lambda: told)
        error, thread = told[0]
        assert type(error) is kind
        assert (error.session, error.reason, error.certificate) == (session.id, reason, CERTIFICATE)
        assert thread == "maitred-client"
        assert session.lost is error
        assert client.submit("neural", "echo").result(WITHIN_S) == {}
    assert len(told) == 1


def test_a_call_of_a_lost_session_asks_the_broker(client: Client, broker: ScriptedBroker, house: House) -> None:
    told: list[MaitredError] = []
    with client.session("neural", on_lost=told.append) as session:
        details = {"session": session.id, "reason": "lost", "certificate": CERTIFICATE}
        house.errors[bytes.fromhex(session.id)] = ("session_lost", details)
        with pytest.raises(SessionLost) as caught:
            session.execute("echo")
        assert (caught.value.cause, caught.value.reason) == ("oom", "lost")
        assert session.lost is caught.value
        assert not told  # the notice is on its way, and is another thread's
        end(broker, session.id, "lost", certificate=CERTIFICATE)
        broker.wait(lambda: told)
        with pytest.raises(SessionLost):
            session.submit("echo").result(WITHIN_S)
        assert len(broker.requests) == 2
    assert session.closed


@pytest.mark.parametrize("raised", [LookupError("the user's own"), SystemExit("the user's own")])
def test_a_callback_may_fail_and_ends_nothing_else(
    client: Client, broker: ScriptedBroker, caplog: pytest.LogCaptureFixture, raised: BaseException
) -> None:
    def fail(_: MaitredError) -> None:
        raise raised

    session = client.session("neural", on_lost=fail)
    end(broker, session.id)
    broker.wait(lambda: "the user's own" in caplog.text)
    assert client.submit("neural", "echo").result(WITHIN_S) == {}


def test_a_callback_that_would_wait_for_its_own_thread_is_told_so(client: Client, broker: ScriptedBroker) -> None:
    caught: list[str] = []

    def reopen(_: MaitredError) -> None:
        for act in (session.close, session.renew, lambda: client.session("neural")):
            try:
                act()
            except RuntimeError as error:
                caught.append(str(error))

    session = client.session("neural", on_lost=reopen)
    end(broker, session.id)
    broker.wait(lambda: len(caught) == 3)
    assert "use another" in caught[0]
    assert not session.closed
    session.close()


def test_closing_it_is_no_loss(client: Client, broker: ScriptedBroker) -> None:
    told: list[MaitredError] = []
    with client.session("neural", on_lost=told.append) as session:
        session.close()
        end(broker, session.id, "closed")
        client.submit("neural", "echo").result(WITHIN_S)
    assert not told
    assert session.lost is None


def test_two_objects_of_one_session_are_both_told(client: Client, broker: ScriptedBroker) -> None:
    told: list[MaitredError] = []
    with client.session("neural", on_lost=told.append) as session:
        with client.session(id=session.id, on_lost=told.append):
            end(broker, session.id)
            broker.wait(lambda: len(told) == 2)
        assert told[0] is not told[1]


def test_an_end_that_comes_amid_closing_is_no_loss() -> None:
    told: list[MaitredError] = []
    lease = Lease(Wanted("neural", None, None, None, False, None, None), told.append)
    lease.closed = True
    lease.hear(SessionEndedEvent(1, "expired", SessionNotFound("gone")))
    assert lease.lost is None
    assert not told


@pytest.mark.parametrize("garbage", [b"\xc1", *encode_body([1]), *encode_body({"epoch": None})])
def test_a_row_that_says_nothing_is_a_yes(garbage: bytes) -> None:
    lease = Lease(Wanted("neural", 60, None, None, False, None, None))
    lease.hear(Replied(1, [garbage]))
    assert (lease.joined, lease.pool, lease.ttl, lease.epoch) == (True, "neural", 60, 0)


def test_nobody_is_waited_for_after_the_end() -> None:
    connection = ClientConnection(b"c" * 16, "tcp://here")
    connection.start(0.0)
    exchange, told = Exchange(connection), list[object]()
    exchange.receive(frames.encode(m.Welcome(b"e" * 16, 1.0, 3, 1000)), 0.0)
    exchange.join(m.Open(1, b"s" * 16, "neural"), [b"\x80"], told.append, 0.0)
    exchange.receive(frames.encode(m.Reply(1), [b"\x80"]), 0.0)
    assert exchange.waiting
    exchange.receive(frames.encode(m.SessionEnded(b"s" * 16, "expired"), [b"\x80"]), 0.0)
    assert [type(event) for event in told] == [Replied, SessionEndedEvent]
    assert not exchange.waiting


# --- moving ---


def test_its_epoch_follows_its_owners(client: Client, broker: ScriptedBroker, house: House) -> None:
    with client.session("neural") as session:
        assert not session.moved
        assert session.last_move is None
        broker.tell(m.SessionMoved(bytes.fromhex(session.id), 2, answered=7, kept=6))
        broker.wait(lambda: session.epoch == 2)
        assert session.moved
        assert session.last_move == (2, 7, 6)
        house.rows[bytes.fromhex(session.id)]["epoch"] = 3
        session.execute("echo")
        assert session.epoch == 3
        with client.session(id=session.id) as attached:
            assert (attached.epoch, attached.moved) == (3, False)


def test_a_call_that_ran_elsewhere_is_told(client: Client, house: House) -> None:
    house.elsewhere = True
    with client.session("neural") as session:
        session.execute("echo", affinity="prefer")
        assert session.elsewhere
        assert session.epoch == 1
        session.execute("echo")
        assert not session.elsewhere


def test_a_worker_that_is_busy_says_nothing_of_its_pool(broker: ScriptedBroker, house: House) -> None:
    with Client(broker.clients, throttle=1.0) as client, client.session("neural", affinity="fail_fast") as session:
        house.errors[bytes.fromhex(session.id)] = ("resource_exhausted", {"reason": "session_busy"})
        for _ in range(20):
            with pytest.raises(PoolSaturated) as caught:
                session.execute("echo")
            assert caught.value.reason == "session_busy"
        assert len(broker.requests) == 20
        house.errors.clear()


# --- brokers come and go ---


def test_a_broker_that_restarts_is_asked_to_tell_of_its_end(client: Client, broker: ScriptedBroker) -> None:
    told: list[MaitredError] = []
    with client.session("neural", on_lost=told.append) as session:
        before = broker.beats
        broker.wait(lambda: broker.beats > before + 1)  # else the broker would forget it
        broker.restart()
        broker.wait(lambda: said(broker, "attach"))
        assert said(broker, "open") == said(broker, "attach") == [bytes.fromhex(session.id)]
        assert session.execute("echo", {"n": 1}, on_saturated="wait") == {"n": 1}
        end(broker, session.id)
        broker.wait(lambda: told)


def test_a_session_that_did_not_outlive_the_broker_is_told_as_ended(
    client: Client, broker: ScriptedBroker, house: House
) -> None:
    told: list[MaitredError] = []
    with client.session("neural", on_lost=told.append):
        house.rows.clear()
        broker.restart()
        broker.wait(lambda: told)
    (error,) = told
    assert isinstance(error, SessionNotFound)


def test_a_broker_that_cannot_say_yet_says_nothing(client: Client, broker: ScriptedBroker, house: House) -> None:
    told: list[MaitredError] = []
    with client.session("neural", on_lost=told.append) as session:
        house.errors[bytes.fromhex(session.id)] = ("unavailable", {"reason": "draining"})
        broker.restart()
        broker.wait(lambda: len(said(broker, "attach")) == 1)
        client.submit("neural", "echo").result(WITHIN_S)
        house.errors.clear()
        broker.restart()
        broker.wait(lambda: len(said(broker, "attach")) == 2)
        end(broker, session.id)
        broker.wait(lambda: told)


def test_an_opening_that_a_restart_swallowed_is_told_as_lost(
    client: Client, broker: ScriptedBroker, house: House
) -> None:
    house.silent = True
    caught: list[Unavailable] = []

    def wait_for_it() -> None:
        with pytest.raises(Unavailable) as info:
            client.session("neural")
        caught.append(info.value)

    thread = threading.Thread(target=wait_for_it)
    thread.start()
    broker.wait(lambda: said(broker, "open"))
    broker.restart()
    thread.join(WITHIN_S)
    assert caught[0].reason == "lost"
    broker.wait(lambda: said(broker, "close") == said(broker, "open"))  # whatever became of it


def test_closing_the_client_ends_the_wait_for_a_worker(client: Client, broker: ScriptedBroker, house: House) -> None:
    house.silent = True
    ends: list[str] = []

    def wait_for_it() -> None:
        with pytest.raises(RequestCancelled) as info:
            client.session("neural")
        ends.append(info.value.outcome)

    thread = threading.Thread(target=wait_for_it)
    thread.start()
    broker.wait(lambda: said(broker, "open") and broker.beats > 2)  # else the broker would forget it
    client.close()
    thread.join(WITHIN_S)
    assert ends == ["client_closed"]
