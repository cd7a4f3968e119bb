"""Hooks of sessions that hang, in both loops with their control thread: they are stopped, and count as having raised."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest
import trio
from worker_peers import Broker, begun, log, run

from maitred.protocol import messages
from maitred.worker import Context, Service, Session, hook_limit

A, B = bytes([0xA]) * 16, bytes([0xB]) * 16
LIMIT_S = 0.05

pytestmark = pytest.mark.slow

CASES = [("plain", False, 1), ("trio", False, 1), ("trio", True, 1), ("trio", False, 2), ("trio", True, 2)]
cases = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}{'-async' * case[1]}-{case[2]}")

Case = tuple[str, bool, int]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hook_limit, "HOOK_LIMIT_S", LIMIT_S)


def hanging(case: Case, kind: str) -> Service:
    """A service one of whose hooks hangs for the sessions that say so; a hook that is left by its `finally` says that."""
    _, is_async, _ = case
    service = Service()

    @service.command
    def count(*, context: Context) -> int:
        session = context.session
        assert session is not None
        session.state["n"] = session.state.get("n", 0) + 1
        return session.state["n"]

    def made(of: str, result: Any = None) -> Any:
        def hook(session: Session, *more: Any) -> Any:
            if of == kind and session.metadata.get("hangs"):
                begun.release()
                try:
                    time.sleep(60)
                finally:
                    log.append("left")
            return result(session) if result is not None else None

        async def ahook(session: Session, *more: Any) -> Any:
            if of == kind and session.metadata.get("hangs"):
                begun.release()
                try:
                    await trio.sleep(60)
                finally:
                    log.append("left")
            return result(session) if result is not None else None

        return ahook if is_async else hook

    service.session_opened(made("session_opened"))
    service.session_closed(made("session_closed"))
    service.snapshot(made("snapshot", lambda session: session.state["n"]))
    service.restore(made("restore"))
    return service


@cases
@pytest.mark.parametrize("kind", ["session_opened", "restore"])
def test_one_that_begins_a_session_fails_it(case: Case, kind: str) -> None:
    loop, _, slots = case

    def script(broker: Broker) -> None:
        broker.open(A, {"hangs": True}, restore=3)
        message, details = broker.receive()
        assert isinstance(message, messages.SessionFailed)
        assert message.message == f"TimeoutError: @service.{kind} took longer than 0.05 s"
        assert details["type"] == "TimeoutError"
        assert log == ["left"]
        broker.open(B)
        broker.dispatch(1, "count", session=B)
        assert broker.answers(1) == {1: 1}

    run(loop, hanging(case, kind), script, slots=slots)


@cases
@pytest.mark.parametrize("kind", ["session_closed", "snapshot"])
def test_one_that_ends_or_keeps_a_session_is_logged(case: Case, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    loop, _, slots = case

    def script(broker: Broker) -> None:
        broker.open(A, {"hangs": True})
        broker.dispatch(1, "count", session=A)
        broker.close(A)
        broker.open(B)
        broker.dispatch(2, "count", session=B)
        found = broker.answers(2)
        assert found == {1: 1, 2: 1}
        while not log:
            time.sleep(0.001)

    with caplog.at_level(logging.WARNING):
        run(loop, hanging(case, kind), script, slots=slots)
    assert log[0] == "left"
    assert f"@service.{kind} took longer than 0.05 s" in caplog.text


def test_a_timeout_of_its_own_stays_what_it_is() -> None:
    service = Service()

    @service.session_opened
    def opened(session: Session) -> None:
        raise TimeoutError("the database")

    def script(broker: Broker) -> None:
        broker.open(A)
        message, _ = broker.receive()
        assert isinstance(message, messages.SessionFailed)
        assert message.message == "TimeoutError: the database"

    run("plain", service, script)
