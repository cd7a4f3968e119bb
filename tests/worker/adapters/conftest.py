"""Runs a command of an adapter as a worker does: arguments validated, parts emitted, the result returned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from maitred.worker import Context, Service
from maitred.worker.invoke import invoke

Run = Callable[..., tuple[Any, list[Any]]]


def run_command(service: Service, name: str, args: dict[str, Any], *, cancel_after: int = 0) -> tuple[Any, list[Any]]:
    """Return result and parts; the request is cancelled after so many parts, where that is not 0."""
    context, parts = Context(command=name), list[Any]()

    def emit(part: Any) -> None:
        parts.append(part)
        if len(parts) == cancel_after:
            context.cancel()

    command = service.find(name)
    return invoke(command, command.validate(args), context, emit), parts


@pytest.fixture
def run() -> Run:
    return run_command
