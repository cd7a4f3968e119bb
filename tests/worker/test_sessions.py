"""What this process knows of its sessions, without loops: time to live, what is new, what is due, and what is told."""

from __future__ import annotations

import math
import os
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maitred.protocol import frames, limits, messages
from maitred.protocol.body import decode_body, encode_body
from maitred.protocol.errors import DecodeError
from maitred.worker import Service, Session
from maitred.worker.options import WorkerOptions
from maitred.worker.requests import Requests
from maitred.worker.session_orders import SessionOrders, at_once
from maitred.worker.sessions import Sessions
from maitred.worker.snapshots import IDLE_S, Deferred, Kept, TooLarge, encode_state

ID, CLIENT = bytes([7]) * 16, bytes(16)


def order(session: bytes = ID, epoch: int = 1, ttl: float = 10.0, *, restore: bool = False) -> messages.SessionOpen:
    return messages.SessionOpen(session, CLIENT, epoch, ttl, messages.PREFER, restore)


class TestTable:
    def test_time_to_live_counts_from_the_last_answer(self) -> None:
        sessions = Sessions()
        owned = sessions.open(order(), encode_body({"who": "me"}), 100.0)
        for now, answered, left in ((104.0, False, 6.0), (105.0, True, 10.0), (107.0, False, 8.0), (200.0, False, 0.0)):
            if answered:
                sessions.answered(ID, now, well=False)
            held, body = frames.from_worker.decode(owned.held(now))
            assert held == messages.SessionHeld(ID, CLIENT, 1, 10.0, left, messages.PREFER, owned.served)
            assert decode_body(body) == {"who": "me"}

    def test_metadata_are_sent_again_as_they_came(self) -> None:
        body = [b"\xde\x00\x01\xa1a\x01"]  # a map of one in the longest form
        owned = Sessions().open(order(), body, 0.0)
        assert owned.held(0.0)[1] == body[0]
        assert owned.session.metadata == {"a": 1}

    @pytest.mark.parametrize("body", [[b"\x01"], [b"\xc1"]])
    def test_other_metadata_are_refused(self, body: list[bytes]) -> None:
        sessions = Sessions()
        with pytest.raises(DecodeError):
            sessions.open(order(), body, 0.0)
        assert not len(sessions)

    def test_failures_are_remembered_for_a_while(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("maitred.worker.sessions.MAX_FAILED", 2)
        sessions = Sessions()
        for n in range(3):
            sessions.fail(bytes([n]) * 16, f"reason {n}")
        codes = [str(sessions.absence(bytes([n]) * 16).code) for n in range(3)]
        assert codes == ["session_not_found", "session_lost", "session_lost"]
        sessions.open(order(bytes([2]) * 16), [b"\x80"], 0.0)
        assert "reason 1" in sessions.absence(bytes([1]) * 16).message
        assert sessions.absence(bytes([2]) * 16).code == "session_not_found"

    def test_one_that_is_not_here(self) -> None:
        sessions = Sessions()
        sessions.answered(ID, 1.0, well=True)
        assert sessions.close(ID) is None
        assert sessions.find(ID) is None


class TestKept:
    def test_an_interval_and_an_idle_moment(self) -> None:
        kept = Kept()
        assert kept.due_at(5.0) == math.inf
        kept.used(100.0, well=True)
        assert kept.due_at(5.0) == -math.inf
        kept.taken(100.0)
        kept.used(100.1, well=True)
        assert kept.due_at(0.5) == 100.5
        assert kept.due_at(5.0) == 100.1 + IDLE_S
        kept.used(101.0, well=False)
        assert kept.due_at(5.0) == 101.0 + IDLE_S

    def test_a_request_that_failed_is_no_reason_but_at_the_end(self) -> None:
        kept = Kept()
        kept.used(1.0, well=False)
        assert (kept.due_at(0.0), kept.stale) == (math.inf, True)

    @given(st.lists(st.lists(st.binary(max_size=3), min_size=1, max_size=3), min_size=1, max_size=20))
    def test_only_what_differs_from_the_last_is_new(self, bodies: list[list[bytes]]) -> None:
        kept, last = Kept(), None
        for body in bodies:
            assert kept.is_new(body) == (body != last)
            last = body

    @given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 20)), max_size=40))
    def test_deferred_are_looked_at_when_their_time_has_come(self, steps: list[tuple[int, int]]) -> None:
        deferred, model, now = Deferred(), dict[bytes, int](), 0
        for session, due in steps:
            key = bytes([session])
            deferred.add(key, due)
            model.setdefault(key, due)
            now = max(now, due - 5)
            assert deferred.next_deadline() == min(model.values())
            ready = deferred.pop(now)
            assert set(ready) == {each for each, at in model.items() if at <= now}
            assert len(ready) == len(set(ready))
            model = {each: at for each, at in model.items() if at > now}


def test_a_state_leaves_room_for_the_metadata() -> None:
    arrays = [np.full(5000, n) for n in range(80)]
    body = encode_state(arrays, 1 << 30)
    assert len(frames.encode(order(restore=True), [b"\x80", *body])) == limits.MAX_FRAMES
    assert all((a == b).all() for a, b in zip(decode_body(body), arrays, strict=True))


def test_a_state_has_a_size() -> None:
    with pytest.raises(TooLarge, match="a state of 40015 bytes; at most 40000 are sent"):
        encode_state(np.zeros(5000), 40_000)


@pytest.fixture
def service() -> Service:
    return Service()


class Worker:
    """Orders, and what is sent."""

    def __init__(self, service: Service) -> None:
        self.requests = Requests(WorkerOptions("general", "-", (), "-", os.urandom(16)), service)
        self.orders = SessionOrders(self.requests, self._send)
        self.sent: list[Any] = []

    async def _send(self, message: list[Any]) -> bool:
        self.sent.append(frames.from_worker.decode(message)[0])
        return True

    def open(self, session: bytes = ID, epoch: int = 1, *, restore: Any = None) -> None:
        body = [b"\x80", *(encode_body(restore) if restore is not None else [])]
        at_once(self.orders.open(order(session, epoch, restore=restore is not None), body))

    def answer(self, session: bytes = ID, *, well: bool = True) -> None:
        self.requests.sessions.answered(session, 0.0, well=well)
        owned = self.orders.due_after(session)
        if owned is not None:
            at_once(self.orders.keep(owned))


@pytest.fixture
def worker(service: Service) -> Iterator[Worker]:
    worker = Worker(service)
    yield worker
    worker.requests.page.close()


class TestOrders:
    def test_said_twice_it_is_opened_once(self, service: Service, worker: Worker) -> None:
        log: list[Any] = []
        service.session_opened(lambda session: log.append(session.epoch))
        service.session_closed(lambda session, reason: log.append(reason))
        worker.open(epoch=2)
        worker.open(epoch=2)
        worker.open(epoch=1)
        assert log == [2]
        worker.open(epoch=4)
        assert log == [2, "lost", 4]
        assert worker.sent == []

    def test_a_snapshot_for_a_service_that_cannot_restore(self, worker: Worker) -> None:
        worker.open(restore=1)
        assert isinstance(worker.sent[0], messages.SessionFailed)
        assert "no @service.restore" in worker.sent[0].message
        assert not len(worker.requests.sessions)

    def test_a_hook_that_ends_the_process_does_not(self, service: Service, worker: Worker) -> None:
        service.session_opened(lambda session: exit(3))
        worker.open()
        assert "sys.exit(3)" in worker.sent[0].message

    def test_what_cannot_be_encoded_is_not_sent(
        self, service: Service, worker: Worker, caplog: pytest.LogCaptureFixture
    ) -> None:
        service.snapshot(lambda session: {"model": object()})
        worker.open()
        worker.answer()
        worker.answer()
        assert worker.sent == []
        assert len(caplog.records) == 1
        assert "model is of type object" in caplog.text

    def test_one_that_is_closed_is_not_kept(self, service: Service, worker: Worker) -> None:
        service.snapshot(lambda session: 1)
        worker.open()
        owned = worker.requests.sessions.find(ID)
        assert owned is not None
        at_once(worker.orders.close(messages.SessionClose(ID, "closed")))
        at_once(worker.orders.keep(owned))
        assert worker.sent == []

    def test_a_drain_keeps_what_a_failed_request_left(self, service: Service, worker: Worker) -> None:
        service.snapshot(lambda session: session.state)
        worker.open()
        worker.answer()
        found = worker.requests.sessions.find(ID)
        assert found is not None
        found.session.state["n"] = 1
        worker.answer(well=False)
        assert [each.served for each in worker.sent] == [1]
        at_once(worker.orders.drain())
        assert [each.served for each in worker.sent] == [1, 2]
        assert not len(worker.requests.sessions)

    def test_a_plain_hook_that_waits_after_all(self, service: Service, worker: Worker) -> None:
        class Waits:
            def __await__(self) -> Iterator[Any]:
                yield

        service.session_opened(lambda session: Waits())
        with pytest.raises(RuntimeError, match="declare it with `async def`"):
            worker.open()


def test_memory_of_closed_sessions_is_back(service: Service, worker: Worker) -> None:
    @service.session_opened
    def fill(session: Session) -> None:
        session.state["itself"], session.state["block"] = session, bytes(100_000)

    worker.open()
    tracemalloc.start()
    try:
        for n in range(50):
            worker.open(bytes([n + 10]) * 16)
        assert tracemalloc.get_traced_memory()[0] > 5_000_000
        for n in range(50):
            at_once(worker.orders.close(messages.SessionClose(bytes([n + 10]) * 16, "expired")))
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()
