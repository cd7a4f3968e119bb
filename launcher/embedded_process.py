"""The child process of an application that watches its broker and agents.

What it is told is the first line of standard input, whose end means that the application is gone: then all ends at once.
It says one line on standard output, when all is ready or cannot be. SIGTERM drains.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile

import msgspec
import trio

from maitred.broker.bound import Bound
from maitred.client import Client
from maitred.launcher.house import House
from maitred.launcher.house_settings import HouseSettings
from maitred.launcher.processes import StartError
from maitred.launcher.readiness import require_ready
from maitred.transport.lifeline import Lifeline

__all__ = ["Embedded", "Started", "child"]


class Embedded(msgspec.Struct, frozen=True):
    """What it is told.

    Attributes:
        house: what to run.
        wanted: pool → the workers that there have to be until it is ready.
        ready_timeout_s: within this.
    """

    house: HouseSettings
    wanted: dict[str, int]
    ready_timeout_s: float


class Started(msgspec.Struct, frozen=True):
    """What it says: where the broker listens, and what is not ready; "": nothing."""

    bound: Bound
    failure: str


def child() -> None:
    """Be the house of an application."""
    told = msgspec.json.decode(sys.stdin.buffer.readline(), type=Embedded)
    house = told.house

    async def report(bound: Bound) -> None:
        failure = await trio.to_thread.run_sync(_failure, bound, told, abandon_on_cancel=True)
        sys.stdout.buffer.write(msgspec.json.encode(Started(bound, failure)) + b"\n")
        sys.stdout.flush()

    with contextlib.ExitStack() as stack:
        if house.broker.run_dir is None:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="maitred-"))
            house = HouseSettings(msgspec.structs.replace(house.broker, run_dir=directory), house.agents)
        lifeline = Lifeline(os.dup(sys.stdin.fileno()))
        stack.callback(lifeline.close)
        fine = trio.run(House(house, on_started=report, lifeline=lifeline).run)
    sys.exit(0 if fine else 1)


def _failure(bound: Bound, told: Embedded) -> str:
    with Client(bound.clients[0]) as client:
        try:
            require_ready(client, told.wanted, told.ready_timeout_s)
        except StartError as error:
            return str(error)
    return ""
