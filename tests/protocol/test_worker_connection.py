"""The worker's half: registration repeats what is held, cancels that overtake their request leave a tombstone."""

from __future__ import annotations

import pytest

from maitred.protocol import frames
from maitred.protocol import messages as m
from maitred.protocol.errors import ProtocolError
from maitred.protocol.worker import MAX_TOMBSTONES, ControlConnection, Held, RequestsConnection

CLIENT, WORKER, TOKEN = b"c" * 16, b"w" * 16, b"t" * 16


def order(n: int) -> m.Dispatch:
    return m.Dispatch(CLIENT, n, 2, "echo", 5.0)


def test_registering_again_names_what_is_held() -> None:
    held = Held()
    connection = RequestsConnection(m.Register(WORKER, TOKEN, "general", 1, [m.CommandInfo("echo")]), held)
    first, _ = frames.from_worker.decode(connection.register())
    assert isinstance(first, m.Register)
    assert first.holds == []
    held.take(order(1))
    held.take(order(2))
    held.answer((CLIENT, 1))
    again, _ = frames.from_worker.decode(connection.register())
    assert isinstance(again, m.Register)
    assert again.holds == [(CLIENT, 2)]
    assert (again.worker, again.token, again.commands) == (WORKER, TOKEN, [m.CommandInfo("echo")])


def test_a_cancel_that_overtakes_its_request_is_found_by_it() -> None:
    held = Held()
    assert not held.bury((CLIENT, 1), "cancelled")
    assert held.take(order(1)) == "cancelled"
    assert held.bury((CLIENT, 1), "cancelled")
    assert held.take(order(2)) is None


def test_tombstones_are_bounded() -> None:
    held = Held()
    for n in range(MAX_TOMBSTONES + 1):
        held.bury((CLIENT, n), "deadline")
    assert held.take(order(0)) is None
    assert held.take(order(1)) == "deadline"


def test_control_attaches_and_beats() -> None:
    control = ControlConnection(WORKER, TOKEN)
    said = control.attach()
    assert said is not None
    assert frames.from_worker.decode(said)[0] == m.Attach(WORKER, TOKEN)
    assert frames.from_worker.decode(control.beat(1, 2.0, 0.0))[0] == m.Beat(1, 2.0, 0.0)
    beat = control.beat(1, 2.0, 0.0, ((CLIENT, 3), 4.0))
    assert frames.from_worker.decode(beat)[0] == m.Beat(1, 2.0, 0.0, (CLIENT, 3), 4.0)
    assert control.receive(frames.encode(m.Stranger()))[0] == m.Stranger()


def test_a_refusal_is_raised() -> None:
    control = ControlConnection(WORKER, TOKEN)
    with pytest.raises(ProtocolError, match="token"):
        control.receive(frames.encode(m.Error(-1, "protocol_error", "wrong token"), [b"\x80"]))
