"""The client's half: handshake, one answer a request, heartbeats only while waiting, brokers that forget or restart."""

from __future__ import annotations

import pytest

from maitred.protocol import frames
from maitred.protocol import messages as m
from maitred.protocol.body import encode_body
from maitred.protocol.client import (
    HELLO_INTERVAL_S,
    PATIENCE_S,
    ClientConnection,
    Failed,
    PartArrived,
    PressureChanged,
    Replied,
    Welcomed,
)
from maitred.protocol.client_events import SessionEndedEvent, SessionMovedEvent
from maitred.protocol.errors import (
    PayloadTooLarge,
    PoolSaturated,
    ProtocolError,
    SessionLost,
    SessionNotFound,
    SessionPoolMismatch,
    Unavailable,
    UnknownPool,
    from_wire,
)

ID = b"c" * 16
WELCOME = m.Welcome(b"e" * 16, interval=1.0, liveness=3, max_message=100)


def sent(connection: ClientConnection) -> list[object]:
    out, connection.outgoing = connection.outgoing, []
    return [frames.from_client.decode(one)[0] for one in out]


def connected() -> ClientConnection:
    connection = ClientConnection(ID, "tcp://here")
    connection.start(0.0)
    connection.receive(frames.encode(WELCOME), 0.0)
    sent(connection)
    return connection


def ask(connection: ClientConnection, request_id: int, now: float = 0.0) -> None:
    connection.request(m.Request(request_id, "p", "c"), [b"x"], now)


def test_hello_is_repeated_until_it_is_answered() -> None:
    connection = ClientConnection(ID, "tcp://here")
    connection.start(0.0)
    assert sent(connection) == [m.Hello(ID)]
    assert connection.next_deadline() == HELLO_INTERVAL_S
    connection.tick(HELLO_INTERVAL_S)
    assert sent(connection) == [m.Hello(ID)]
    connection.receive(frames.encode(WELCOME), 0.6)
    assert connection.next_deadline() is None


def test_a_request_is_answered_once() -> None:
    connection = connected()
    ask(connection, 1)
    part = connection.receive(frames.encode(m.Part(1, 1, 0), [b"p"]), 0.1)
    assert part == [PartArrived(1, 1, 0, [b"p"])]
    assert connection.receive(frames.encode(m.Reply(1), [b"r"]), 0.1) == [Replied(1, [b"r"])]
    for late in (m.Reply(1), m.Part(1, 1, 1)):
        assert connection.receive(frames.encode(late, [b"r"]), 0.2) == []


def test_an_error_becomes_its_exception_with_details() -> None:
    connection = connected()
    ask(connection, 1)
    error = m.Error(1, "unknown_pool", "no pool 'p'")
    (event,) = connection.receive(frames.encode(error, encode_body({"pools": ["q"]})), 0.1)
    assert isinstance(event, Failed)
    assert isinstance(event.error, UnknownPool)
    assert event.error.pools == ["q"]


def test_an_error_of_the_connection_is_raised() -> None:
    connection = connected()
    with pytest.raises(ProtocolError, match="bad"):
        connection.receive(frames.encode(m.Error(-1, "protocol_error", "bad"), [b"\x80"]), 0.1)


def test_too_large_arguments_are_not_sent() -> None:
    connection = connected()
    with pytest.raises(PayloadTooLarge) as caught:
        connection.request(m.Request(1, "p", "c"), [b"x" * 60, memoryview(b"x" * 60)], 0.0)
    assert (caught.value.size, caught.value.limit) == (120, 100)
    assert sent(connection) == []
    assert not connection.waiting


def test_heartbeats_go_out_only_while_something_is_awaited() -> None:
    connection = connected()
    connection.tick(50.0)
    assert sent(connection) == []
    ask(connection, 1, now=60.0)
    sent(connection)
    assert connection.next_deadline() == 61.0
    assert connection.tick(61.0) == []  # the silence before the request does not count
    assert m.Heartbeat() in sent(connection)


def test_a_silent_broker_is_given_up() -> None:
    connection = connected()
    ask(connection, 1)
    assert connection.tick(3.0 + PATIENCE_S) == []
    (event,) = connection.tick(3.1 + PATIENCE_S)
    assert isinstance(event, Failed)
    assert isinstance(event.error, Unavailable)
    assert "tcp://here" in str(event.error)
    assert not connection.waiting


@pytest.mark.parametrize(("epoch", "word"), [(b"f" * 16, "restarted"), (b"e" * 16, "taken this client for gone")])
def test_a_broker_that_lost_the_connection_is_told_again_and_what_it_may_have_begun_fails(
    epoch: bytes, word: str
) -> None:
    connection = connected()
    ask(connection, 1)
    sent(connection)
    connection.tick(1.0)
    sent(connection)
    assert connection.receive(frames.encode(m.Stranger()), 1.1) == []  # answers the heartbeat
    assert sent(connection) == [m.Hello(ID)]
    again = m.Welcome(epoch, 1.0, 3, 100)
    _, failed = connection.receive(frames.encode(again), 1.2)
    assert isinstance(failed, Failed)
    assert word in str(failed.error)
    assert not connection.waiting


def strangers(connection: ClientConnection, count: int) -> list[object]:
    for _ in range(count):
        assert connection.receive(frames.encode(m.Stranger()), 1.0) == []
    return sent(connection)


@pytest.mark.parametrize("epoch", [b"e" * 16, b"f" * 16])
def test_what_a_stranger_answered_is_sent_again(epoch: bytes) -> None:
    connection = connected()
    for n in (1, 2, 3):
        ask(connection, n)
    connection.grant(3, 5)
    first = sent(connection)
    assert strangers(connection, 3) == [m.Hello(ID)]  # to request 2, to request 3 and to the grant
    ask(connection, 4)
    assert sent(connection) == []  # waits for WELCOME
    welcome = m.Welcome(epoch, 1.0, 3, 100)
    welcomed, failed = connection.receive(frames.encode(welcome), 1.2)
    assert welcomed == Welcomed(welcome)
    assert isinstance(failed, Failed)
    assert failed.id == 1
    assert sent(connection) == [*first[1:], m.Request(4, "p", "c")]
    assert connection.receive(frames.encode(m.Reply(2), [b"r"]), 1.3) == [Replied(2, [b"r"])]


def test_what_was_given_up_meanwhile_is_not_sent_again() -> None:
    connection = connected()
    ask(connection, 1)
    sent(connection)
    assert strangers(connection, 1) == [m.Hello(ID)]
    connection.abandon(1)
    assert connection.receive(frames.encode(WELCOME), 1.2) == [Welcomed(WELCOME)]
    assert sent(connection) == [m.Cancel(1)]


def test_the_welcome_to_a_repeated_hello_means_nothing() -> None:
    connection = ClientConnection(ID, "tcp://here")
    connection.start(0.0)
    sent(connection)
    connection.tick(HELLO_INTERVAL_S)
    connection.receive(frames.encode(WELCOME), 0.6)
    ask(connection, 1, now=0.6)
    assert connection.receive(frames.encode(WELCOME), 0.7) == [Welcomed(WELCOME)]
    assert connection.waiting


def test_a_broker_that_tells_no_events_is_not_asked() -> None:
    connection = connected()  # it says nothing of events
    with pytest.raises(Unavailable, match=r"tcp://here is of a version that tells no events"):
        connection.request(m.Listen(1), [], 0.0)
    assert sent(connection) == []
    connection.receive(frames.encode(m.Stranger()), 0.0)
    connection.receive(frames.encode(m.Welcome(ID, 1.0, 3, 100, events=True)), 0.0)
    sent(connection)
    connection.request(m.Listen(1), [], 0.0)
    assert sent(connection) == [m.Listen(1)]


def test_nothing_piles_up_while_nothing_leaves() -> None:
    connection = connected()
    ask(connection, 1)
    for second in range(1, 5):
        connection.tick(float(second))
    assert [type(message) for message in sent(connection)] == [m.Request]


def test_a_request_can_be_withdrawn_until_it_has_left() -> None:
    connection = connected()
    ask(connection, 1)
    ask(connection, 2)
    assert connection.withdraw(1)
    assert sent(connection) == [m.Request(2, "p", "c")]
    assert not connection.withdraw(2)
    assert strangers(connection, 1) == [m.Hello(ID)]
    ask(connection, 3)  # held back
    assert connection.withdraw(3)
    connection.receive(frames.encode(WELCOME), 1.2)
    assert sent(connection) == [m.Request(2, "p", "c")]


def test_all_can_be_failed_at_once_each_with_an_error_of_its_own() -> None:
    connection = connected()
    ask(connection, 1)
    ask(connection, 2)
    first, second = connection.fail_all(Unavailable("gone", reason="x"))
    assert isinstance(first, Failed)
    assert isinstance(second, Failed)
    assert first.error is not second.error
    assert second.error.reason == "x"
    assert not connection.waiting


def test_an_abandoned_request_is_cancelled_and_forgotten() -> None:
    connection = connected()
    ask(connection, 1)
    sent(connection)
    connection.grant(1, 5)
    connection.abandon(1)
    connection.grant(1, 5)
    assert sent(connection) == [m.Grant(1, 5), m.Cancel(1)]
    assert connection.receive(frames.encode(m.Reply(1), [b"r"]), 0.1) == []


def test_an_error_whose_details_are_garbage_still_ends_its_request() -> None:
    connection = connected()
    ask(connection, 1)
    (event,) = connection.receive(frames.encode(m.Error(1, "application_error", "boom"), [b"\xc1"]), 0.1)
    assert isinstance(event, Failed)
    assert event.error.message == "boom"
    assert not connection.waiting


# --- levels, watches, questions ---


def pressure(request_id: int, level: int = m.LEVEL_OK) -> list[object]:
    return frames.encode(m.Pressure(request_id, "p", level, 3, 4, 0.5))


def test_answers_say_how_full_the_pool_is() -> None:
    connection = connected()
    ask(connection, 1)
    ask(connection, 2)
    (replied,) = connection.receive(frames.encode(m.Reply(1, 1, m.LEVEL_HIGH), [b"r"]), 0.1)
    (failed,) = connection.receive(frames.encode(m.Error(2, "internal", "no", m.LEVEL_FULL), [b"\x80"]), 0.1)
    assert isinstance(replied, Replied)
    assert isinstance(failed, Failed)
    assert (replied.level, failed.level) == (m.LEVEL_HIGH, m.LEVEL_FULL)


def test_a_watch_is_told_of_every_change_until_it_is_given_up() -> None:
    connection = connected()
    connection.watch(1, "p", 0.0)
    assert sent(connection) == [m.Watch(1, "p")]
    assert connection.receive(pressure(1), 0.1) == [PressureChanged(1, "p", m.LEVEL_OK, 3, 4, 0.5)]
    assert connection.receive(pressure(2), 0.1) == []
    assert connection.next_deadline() == 1.0
    connection.tick(1.0)
    assert sent(connection) == [m.Heartbeat()]
    connection.abandon(1)
    assert sent(connection) == [m.Cancel(1)]
    assert connection.receive(pressure(1), 1.1) == []
    assert connection.next_deadline() is None


def test_a_watch_that_is_refused_is_over() -> None:
    connection = connected()
    connection.watch(1, "p", 0.0)
    (event,) = connection.receive(frames.encode(m.Error(1, "unknown_pool", "no"), [b"\x80"]), 0.1)
    assert isinstance(event, Failed)
    assert not connection.waiting
    assert connection.receive(pressure(1), 0.2) == []


@pytest.mark.parametrize("epoch", [b"e" * 16, b"f" * 16])
def test_a_watch_is_said_again_where_a_request_is_lost(epoch: bytes) -> None:
    connection = connected()
    connection.watch(1, "p", 0.0)
    ask(connection, 2)
    connection.watch(3, "q", 0.0)
    sent(connection)
    assert strangers(connection, 1) == [m.Hello(ID)]  # to the last one only
    _, failed = connection.receive(frames.encode(m.Welcome(epoch, 1.0, 3, 100)), 1.2)
    assert isinstance(failed, Failed)
    assert failed.id == 2
    assert sent(connection) == [m.Watch(3, "q"), m.Watch(1, "p")]
    assert connection.receive(pressure(1), 1.3)


def test_a_watch_outlives_any_silence_which_is_no_request_s_fault() -> None:
    connection = connected()
    connection.watch(1, "p", 0.0)
    assert connection.tick(1000.0) == []
    ask(connection, 2, now=1000.0)
    assert connection.tick(1000.5) == []
    (event,) = connection.tick(1000.1 + 3.0 + PATIENCE_S)
    assert isinstance(event, Failed)
    assert event.id == 2
    assert connection.waiting


def test_all_that_is_awaited_can_be_failed_watches_too() -> None:
    connection = connected()
    connection.watch(1, "p", 0.0)
    (event,) = connection.fail_all(Unavailable("gone"))
    assert isinstance(event, Failed)
    assert connection.receive(pressure(1), 0.1) == []


def test_the_broker_is_asked_and_told() -> None:
    connection = connected()
    said = [m.Query(1, "requests"), m.Operate(2, "cancel", "ab-1")]
    for message in said:
        connection.ask(message, 0.0)
    assert sent(connection) == said
    assert connection.receive(frames.encode(m.Reply(2), [b"r"]), 0.1) == [Replied(2, [b"r"])]


def test_a_refusal_whose_details_are_none_is_still_one() -> None:
    connection = connected()
    ask(connection, 1)
    details = {"retry_after": "soon", "ticket": -3, "queued": [1], "reason": "queue_full"}
    (event,) = connection.receive(frames.encode(m.Error(1, "resource_exhausted", "full"), encode_body(details)), 0.1)
    assert isinstance(event, Failed)
    error = event.error
    assert isinstance(error, PoolSaturated)
    assert (error.retry_after, error.ticket, error.queued, error.capacity) == (None, None, None, None)
    assert error.reason == "queue_full"


# --- sessions ---

SESSION = b"s" * 16
OPEN = m.Open(1, SESSION, "p", 60.0)
ATTACH = m.Session(1, SESSION, "attach")


def opened(connection: ClientConnection, message: m.Open | m.Session = OPEN) -> ClientConnection:
    connection.join(message, [b"\x80"] if isinstance(message, m.Open) else [], 0.0)
    assert sent(connection) == [message]
    connection.receive(frames.encode(m.Reply(message.id), [b"row"]), 0.1)
    return connection


def session_ended(reason: str = "lost", details: object = None) -> frames.Frames:
    return frames.encode(m.SessionEnded(SESSION, reason), encode_body(details))


def test_a_reply_says_which_owner_gave_it() -> None:
    connection = connected()
    ask(connection, 1)
    (replied,) = connection.receive(frames.encode(m.Reply(1, epoch=3), [b"r"]), 0.1)
    assert replied == Replied(1, [b"r"], m.LEVEL_OK, 3)


@pytest.mark.parametrize("message", [OPEN, ATTACH])
def test_a_session_that_was_joined_is_told_of_until_it_is_left(message: m.Open | m.Session) -> None:
    connection = connected()
    connection.join(message, [b"\x80"] if message is OPEN else [], 0.0)
    assert connection.next_deadline() == 1.0  # an opening that is unanswered keeps heartbeats up
    assert sent(connection) == [message]
    assert connection.receive(frames.encode(m.Reply(1), [b"row"]), 0.1) == [Replied(1, [b"row"])]
    assert connection.next_deadline() == 1.0
    assert connection.receive(frames.encode(m.SessionMoved(SESSION, 2)), 0.2) == [SessionMovedEvent(1, 2)]
    connection.abandon(1)
    assert sent(connection) == []  # it goes on
    assert connection.receive(session_ended(), 0.3) == []
    assert connection.receive(frames.encode(m.SessionMoved(SESSION, 3)), 0.3) == []
    assert connection.next_deadline() is None


def test_an_opening_that_is_given_up_is_cancelled() -> None:
    connection = connected()
    connection.join(OPEN, [b"\x80"], 0.0)
    connection.abandon(1)
    assert sent(connection) == [OPEN, m.Cancel(1)]
    assert connection.receive(frames.encode(m.Reply(1), [b"row"]), 0.1) == []
    assert not connection.waiting


@pytest.mark.parametrize(
    ("reason", "kind"),
    [("lost", SessionLost), ("drain", SessionLost), ("expired", SessionNotFound), ("closed", SessionNotFound)],
)
def test_its_end_is_the_error_of_its_next_request(reason: str, kind: type[Exception]) -> None:
    connection = opened(connected())
    (event,) = connection.receive(session_ended(reason, {"certificate": {"cause": "oom"}}), 0.2)
    assert isinstance(event, SessionEndedEvent)
    assert (event.id, event.reason, type(event.error)) == (1, reason, kind)
    assert event.error.message == f"session {SESSION.hex()} has ended: {reason} (oom)"
    assert event.error.details == {"session": SESSION.hex(), "reason": reason, "certificate": {"cause": "oom"}}
    assert connection.receive(session_ended(reason), 0.3) == []
    assert not connection.waiting


@pytest.mark.parametrize("details", [None, [1], {"message": "x", "self": 1, 3: 4}])
def test_the_end_of_a_session_is_told_whatever_its_details_are(details: object) -> None:
    connection = opened(connected())
    (event,) = connection.receive(session_ended("another", details), 0.2)
    assert isinstance(event, SessionEndedEvent)
    assert isinstance(event.error, SessionLost)
    assert (event.error.reason, event.error.certificate, event.error.cause) == ("another", {}, "unknown")


def test_each_that_joined_a_session_is_told() -> None:
    connection = opened(opened(connected()), m.Session(2, SESSION, "attach"))
    connection.join(m.Open(3, b"t" * 16, "p"), [b"\x80"], 0.0)
    assert [event.id for event in connection.receive(frames.encode(m.SessionMoved(SESSION, 2)), 0.2)] == [1, 2]  # pyright: ignore
    connection.abandon(1)
    (event,) = connection.receive(session_ended(), 0.3)
    assert isinstance(event, SessionEndedEvent)
    assert event.id == 2
    assert connection.waiting


@pytest.mark.parametrize("epoch", [b"e" * 16, b"f" * 16])
def test_a_broker_that_lost_the_connection_is_told_attach(epoch: bytes) -> None:
    connection = opened(connected())
    connection.join(m.Open(2, b"t" * 16, "p"), [b"\x80"], 0.5)
    sent(connection)
    connection.tick(1.0)
    sent(connection)
    assert strangers(connection, 1) == [m.Hello(ID)]  # to the heartbeat
    _, failed = connection.receive(frames.encode(m.Welcome(epoch, 1.0, 3, 100)), 1.2)
    assert isinstance(failed, Failed)
    assert failed.id == 2  # nobody knows whether that was opened
    assert sent(connection) == [m.Heartbeat(), ATTACH]
    assert connection.receive(frames.encode(m.Reply(1), [b"row"]), 1.3) == [Replied(1, [b"row"])]
    assert len(connection.receive(session_ended(), 1.4)) == 1


def test_an_opening_that_a_stranger_answered_is_said_again() -> None:
    connection = connected()
    connection.join(OPEN, [b"\x80"], 0.0)
    sent(connection)
    assert strangers(connection, 1) == [m.Hello(ID)]
    assert connection.receive(frames.encode(WELCOME), 1.2) == [Welcomed(WELCOME)]
    assert sent(connection) == [OPEN]


def test_a_session_that_did_not_outlive_the_broker_fails_and_one_it_cannot_speak_of_does_not() -> None:
    connection = opened(connected())
    unavailable = frames.encode(m.Error(1, "unavailable", "draining"), encode_body({}))
    assert connection.receive(unavailable, 0.2) == []
    assert connection.waiting
    (event,) = connection.receive(frames.encode(m.Error(1, "session_not_found", "no"), encode_body({})), 0.3)
    assert isinstance(event, Failed)
    assert not connection.waiting
    assert connection.receive(session_ended(), 0.4) == []


def test_a_session_that_cannot_be_opened_fails() -> None:
    connection = connected()
    connection.join(OPEN, [b"\x80"], 0.0)
    (event,) = connection.receive(frames.encode(m.Error(1, "unavailable", "no"), encode_body({})), 0.2)
    assert isinstance(event, Failed)
    assert not connection.waiting
    assert connection.receive(session_ended(), 0.4) == []


def test_a_session_outlives_any_silence_and_an_opening_does_not() -> None:
    connection = opened(connected())
    connection.join(m.Open(2, b"t" * 16, "p"), [b"\x80"], 1.0)
    (event,) = connection.tick(4.1 + PATIENCE_S)
    assert isinstance(event, Failed)
    assert event.id == 2
    assert connection.waiting
    assert len(connection.fail_all(Unavailable("gone"))) == 1
    assert connection.receive(session_ended(), 20.0) == []


def test_too_large_metadata_are_not_sent() -> None:
    connection = connected()
    with pytest.raises(PayloadTooLarge) as caught:
        connection.join(OPEN, [b"x" * 101], 0.0)
    assert caught.value.what == "metadata"
    assert not connection.waiting


def test_what_a_session_s_errors_carry_are_attributes_even_where_it_is_left_out() -> None:
    for code, kind in (("session_not_found", SessionNotFound), ("session_lost", SessionLost)):
        error = from_wire(code, "gone", {})
        assert isinstance(error, kind)
        assert (error.session, error.reason) == (None, None)
    error = from_wire("session_pool_mismatch", "no", {"session": "ab", "pool": "p"})
    assert isinstance(error, SessionPoolMismatch)
    assert (error.session, error.pool) == ("ab", "p")
