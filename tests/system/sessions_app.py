"""An application with sessions, for the system's tests: counters, which move or do not, and a journal of their lives."""

from __future__ import annotations

import os
from typing import Any

import trio

from maitred.worker import Context, Service, Session


def counters(*, keeps: bool, is_async: bool = False) -> Service:
    """A service whose sessions count; `keeps`: they outlive their process."""
    service = Service()

    @service.session_opened
    def opened(session: Session) -> None:
        if session.metadata.get("raises"):
            raise LookupError("no room here")
        session.state["n"] = 0
        session.state["memory"] = bytes(session.metadata.get("bytes", 0))
        note(session, "opened")

    @service.session_closed
    def closed(session: Session, reason: str) -> None:
        note(session, f"closed {reason} {session.state['n']}")

    @service.command
    def add(by: int = 1, *, context: Context) -> list[int]:
        session = context.session
        assert session is not None
        session.state["n"] += by
        return [session.state["n"], os.getpid(), session.epoch]

    if keeps:

        @service.snapshot
        def snapshot(session: Session) -> Any:
            return session.state["n"] or None

        @service.restore
        def restore(session: Session, value: Any) -> None:
            note(session, f"restored {value}")
            session.state["n"] = value

    if is_async:

        @service.command
        async def add_slowly(by: int = 1, *, context: Context) -> list[int]:
            session = context.session
            assert session is not None
            before = session.state["n"]
            await trio.sleep(0.001)
            session.state["n"] = before + by  # another one meanwhile would be lost
            return [session.state["n"], os.getpid(), session.epoch]

    @service.command
    def plain() -> int:
        return os.getpid()

    return service


def note(session: Session, what: str) -> None:
    """Write a line into the journal that the session's opener named."""
    journal = session.metadata.get("journal")
    if journal:
        with open(journal, "a") as file:
            file.write(f"{what}\n")


fleeting = counters(keeps=False)
kept = counters(keeps=True)
asynchronous = counters(keeps=True, is_async=True)
