"""A worker or an agent that is not let in: said once, tried again later each time."""

from __future__ import annotations

import os

import pytest

from maitred.protocol import frames, messages
from maitred.protocol.agent import AgentConnection
from maitred.protocol.errors import PermissionDenied, ProtocolError, Unauthenticated
from maitred.worker.turned_away import FIRST_PAUSE_S, LONGEST_PAUSE_S, TurnedAway, may_change


def test_what_was_said_is_not_said_again_until_it_was_let_in() -> None:
    said: list[str] = []
    it = TurnedAway("this worker", said.append)
    for _ in range(3):
        it.note(Unauthenticated("no such key"))
    it.note(PermissionDenied("not this pool"))
    it.note(None)
    it.note(PermissionDenied("not this pool"))
    assert [text.split(": ")[1] for text in said] == [
        "no such key; it goes on trying", "not this pool; it goes on trying", "not this pool; it goes on trying",
    ]  # fmt: skip


def test_silence_is_said_where_nothing_else_was() -> None:
    said: list[str] = []
    it = TurnedAway("this agent", said.append)
    it.note_silence("no broker answered")
    it.note(Unauthenticated("no such key"))
    it.note_silence("no broker answered")
    assert said == [
        "no broker answered; it goes on trying", "the broker refused this agent: no such key; it goes on trying",
    ]  # fmt: skip


def test_it_waits_longer_each_time_up_to_a_limit_and_begins_anew_once_it_was_let_in() -> None:
    it = TurnedAway("this worker", lambda _: None)
    pauses = [it.pause_s() for _ in range(10)]
    assert 0.8 * FIRST_PAUSE_S <= pauses[0] <= 1.2 * FIRST_PAUSE_S
    assert 0.8 * LONGEST_PAUSE_S <= pauses[-1] <= 1.2 * LONGEST_PAUSE_S
    it.note(None)
    assert it.pause_s() <= 1.2 * FIRST_PAUSE_S


def test_only_what_a_reload_can_mend_is_waited_for() -> None:
    assert may_change(Unauthenticated("x"))
    assert may_change(PermissionDenied("x"))
    assert not may_change(ProtocolError("x"))


def test_a_refused_agent_introduces_itself_again_after_the_pause_and_tells_of_its_workers_then() -> None:
    secret = "one"
    it = AgentConnection(messages.Agent(os.urandom(16), "p"), lambda: secret)
    it.start(0.0)
    it.receive(frames.encode(messages.Welcome(os.urandom(16), 1.0, 3, 1000)), 0.0)
    it.spawned(b"w" * 16, 7)
    assert it.known
    with pytest.raises(Unauthenticated):
        it.receive(frames.encode(messages.Error(-1, "unauthenticated", "revoked"), [b"\x80"]), 1.0)
    it.refused(1.0, 5.0)
    secret = "another"
    it.tick(5.9, [])
    assert (it.known, it.outgoing) == (False, [])
    it.tick(6.0, [])
    said, _ = frames.from_worker.decode(it.outgoing.pop())
    assert isinstance(said, messages.Agent)
    assert said.secret == "another"
    it.receive(frames.encode(messages.Welcome(os.urandom(16), 1.0, 3, 1000)), 6.1)
    assert frames.encode(messages.Spawned(b"w" * 16, 7)) in it.outgoing
