"""Runs a command of an adapter as a worker does: arguments validated, parts emitted, the result returned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from maitred.protocol.body import decode_body, encode_body
from maitred.worker import Context, Service, Session
from maitred.worker.invoke import invoke

Run = Callable[..., tuple[Any, list[Any]]]


def run_command(
    service: Service, name: str, args: dict[str, Any], *, cancel_after: int = 0, session: Session | None = None
) -> tuple[Any, list[Any]]:
    """Return result and parts; the request is cancelled after so many parts, where that is not 0."""
    context, parts = Context(command=name, session=session), list[Any]()

    def emit(part: Any) -> None:
        parts.append(part)
        if len(parts) == cancel_after:
            context.cancel()

    command = service.find(name)
    return invoke(command, command.validate(args), context, emit), parts


@pytest.fixture
def run() -> Run:
    return run_command


def moved_session(service: Service, session: Session) -> Session:
    """The session as another process has it, after a snapshot over the wire."""
    hooks = service.hooks
    assert hooks.snapshot is not None
    assert hooks.restore is not None
    frames = [bytes(frame) for frame in encode_body(hooks.snapshot.function(session), spare=1)]
    moved = Session(session.id, session.metadata, epoch=session.epoch + 1)
    hooks.restore.function(moved, decode_body(frames))
    return moved


@pytest.fixture
def move() -> Callable[[Service, Session], Session]:
    return moved_session
