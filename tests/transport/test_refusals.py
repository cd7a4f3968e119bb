"""A DEALER that is not let in: it is told why, at once, and tries again."""

from __future__ import annotations

import itertools
import math
import re
import time
from collections.abc import Callable, Iterator

import pytest
import zmq
from guarded_broker import GuardedBroker, new_key

from maitred.config.key_file import KeyFile
from maitred.protocol.errors import Unauthenticated, Unavailable
from maitred.transport.endpoints import connect
from maitred.transport.refusals import FIRST_RETRY_S, LONGEST_RETRY_S, HandshakeRefusals
from maitred.transport.sockets import dealer

WITHIN_S = 5.0
SERVER = new_key()
KEY = new_key(SERVER)


@pytest.fixture
def make_broker() -> Iterator[Callable[..., GuardedBroker]]:
    made: list[GuardedBroker] = []

    def make(key: KeyFile | None = SERVER, status: str = "200", address: str | None = None) -> GuardedBroker:
        made.append(GuardedBroker(key, address=address))
        made[-1].status = status
        return made[-1]

    yield make
    for broker in made:
        broker.close()


class End:
    """A DEALER and its refusals."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, key: KeyFile | None) -> None:
        self.socket = dealer(context, linger_ms=0, key=key)
        self.refusals = HandshakeRefusals(self.socket, endpoint, key)
        connect(self.socket, endpoint)

    def look_until(self, condition: Callable[[HandshakeRefusals], object], now: float = -math.inf) -> None:
        give_up = time.monotonic() + WITHIN_S
        while not condition(self.refusals):
            self.refusals.look(now)
            assert time.monotonic() < give_up, "it did not come to pass"
            self.refusals.monitor.poll(10)


@pytest.fixture
def end() -> Iterator[Callable[..., End]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    made: list[End] = []

    def make(endpoint: str, key: KeyFile | None) -> End:
        made.append(End(context, endpoint, key))
        return made[-1]

    yield make
    for each in made:
        each.refusals.close()
        each.socket.close(linger=0)
    context.destroy(linger=0)


@pytest.mark.parametrize(
    ("broker_key", "status", "key", "reason", "todo"),
    [
        (SERVER, "400", KEY, "refused", re.escape(KEY.public[:8]) + "….*authorisation file.*has to reload"),
        (None, "400", None, "refused", "without a key: set MAITRED_KEY, or give key="),
        (SERVER, "200", None, "key_needed", "asks for a key: set MAITRED_KEY"),
        (None, "200", KEY, "no_keys", "has no keys.*unset MAITRED_KEY.*broker.key"),
    ],
    ids=["refused", "refused without a key", "key needed", "no keys"],
)
def test_why_and_what_to_do(
    make_broker: Callable[..., GuardedBroker],
    end: Callable[..., End],
    broker_key: KeyFile | None,
    status: str,
    key: KeyFile | None,
    reason: str,
    todo: str,
) -> None:
    it = end(make_broker(broker_key, status).clients, key)
    it.look_until(lambda refusals: refusals.refusal)
    assert isinstance(it.refusals.refusal, Unauthenticated)
    assert it.refusals.refusal.details["reason"] == reason
    with pytest.raises(Unauthenticated, match=todo):
        raise it.refusals.no_answer(5.0)


def test_who_is_let_in_shows_its_key_and_is_told_nothing(
    make_broker: Callable[..., GuardedBroker], end: Callable[..., End]
) -> None:
    broker = make_broker()
    it = end(broker.clients, KEY)
    assert it.socket.poll(WITHIN_S * 1000, zmq.POLLOUT)
    it.refusals.look(0.0)
    assert (it.refusals.refusal, it.refusals.hung_up, broker.seen) == (None, 0, [KEY.public])


def test_who_is_refused_tries_again_later_each_time_and_gets_in_after_a_reload(
    make_broker: Callable[..., GuardedBroker], end: Callable[..., End]
) -> None:
    broker = make_broker(status="400")
    it = end(broker.clients, KEY)
    now, pauses = 1000.0, list[float]()
    for attempt in range(1, 7):
        it.look_until(lambda refusals: refusals.next_deadline() < math.inf, now)
        pauses.append(it.refusals.next_deadline() - now)
        assert not it.refusals.look(it.refusals.next_deadline() - 0.001), "it is not due yet"
        assert len(broker.seen) == attempt
        if attempt == 6:
            broker.status = "200"
        now = it.refusals.next_deadline()
        assert it.refusals.look(now)
    assert it.socket.poll(WITHIN_S * 1000, zmq.POLLOUT)
    it.look_until(lambda refusals: refusals.refusal is None, now)
    assert 0.8 * FIRST_RETRY_S <= pauses[0] <= 1.2 * FIRST_RETRY_S
    assert all(later > 1.3 * earlier for earlier, later in itertools.pairwise(pauses[:4]))
    assert max(pauses) <= 1.2 * LONGEST_RETRY_S


def test_a_key_for_another_broker_looks_like_too_many_connections_and_both_are_said(
    make_broker: Callable[..., GuardedBroker], end: Callable[..., End]
) -> None:
    other = new_key()
    it = end(make_broker().clients, new_key(other))
    it.look_until(lambda refusals: refusals.hung_up >= 2)
    assert it.refusals.refusal is None, "libzmq goes on trying, and it may be over soon"
    error = it.refusals.no_answer(5.0)
    assert isinstance(error, Unavailable)
    assert error.details["reason"] == "hung_up"
    assert "too many connections" in error.message
    assert other.public[:8] in error.message


@pytest.mark.slow
def test_too_many_connections_are_said(make_broker: Callable[..., GuardedBroker], end: Callable[..., End]) -> None:
    crowded = end(make_broker(status="300").clients, KEY)
    crowded.look_until(lambda refusals: refusals.hung_up)
    assert "too many connections" in crowded.refusals.no_answer(5.0).message


def test_nobody_there_is_nobody_there(end: Callable[..., End]) -> None:
    it = end("tcp://127.0.0.1:1", KEY)
    assert not it.refusals.look(0.0)
    error = it.refusals.no_answer(5.0)
    assert isinstance(error, Unavailable)
    assert error.details["reason"] == "no_broker"
