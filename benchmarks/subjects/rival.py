"""Another client of the same pool, in a process of its own: keeps so many requests under way, and measures nothing.

It ends with the harness, or when it is told to: killed, as its thousands of requests need not be waited for. The broker
sees its connection end, and drops them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator
from typing import NoReturn

from msgspec import Struct

from maitred.benchmarks.method.load import Load
from maitred.benchmarks.subjects.child import report, settings
from maitred.benchmarks.subjects.protocol import StartError
from maitred.benchmarks.subjects.wire import WireCaller
from maitred.client import Client
from maitred.launcher.processes import ChildProcess

__all__ = ["Rival", "rival", "serve"]

START_TIMEOUT_S = 20.0
"""Within this its process has to be there."""

FILL_TIMEOUT_S = 300.0
"""Within this its requests have to be with the broker: 100,000 of them take half a minute on two cores."""

DROP_TIMEOUT_S = 60.0
"""Within this the broker has to have dropped them."""

POLL_S = 0.01

ON_THEIR_WAY = 100
ON_THEIR_WAY_PART = 10
"""At any time some of its requests are: so many at most, and one of so many."""

LONG_S = 3600.0
"""It goes on until it is ended."""


class Rival(Struct, frozen=True):
    """What it is told.

    Attributes:
        endpoint: the broker's.
        pool: what it calls.
        outstanding: requests under way.
        task_s: that each task sleeps.
        payload: of each.
    """

    endpoint: str
    pool: str
    outstanding: int
    task_s: float = 0.0
    payload: bytes = b""


@contextlib.contextmanager
def rival(wanted: Rival, observer: Client) -> Generator[None]:
    """Have it call, from when all its requests are with the broker until the block is left and all of them are gone.

    Args:
        wanted: its settings.
        observer: a client of the same broker, which asks how many requests there are.

    Raises:
        StartError: it did not start, or its requests did not arrive.
    """
    process = ChildProcess(__name__, "serve", wanted, reports=True)
    try:
        if not process.read_report(START_TIMEOUT_S):
            raise StartError("the rival did not start; what it said is on standard error")
        full = wanted.outstanding - min(ON_THEIR_WAY, wanted.outstanding // ON_THEIR_WAY_PART)
        _await(lambda: _requests(observer) >= full, FILL_TIMEOUT_S, "the rival's requests did not reach the broker")
        yield
    finally:
        process.kill()
        process.wait()
    _await(lambda: _requests(observer) == 0, DROP_TIMEOUT_S, "the broker did not drop the rival's requests")


def serve() -> NoReturn:
    """Be that process."""
    told = settings(Rival)
    caller = WireCaller(told.endpoint, told.pool)
    report(told)
    load = Load(
        payload=told.payload, task_s=told.task_s, outstanding=told.outstanding, seconds=LONG_S, timeout_s=LONG_S
    )
    while True:
        caller.drive_watched(load)


def _requests(observer: Client) -> int:
    return observer.broker()["requests"]


def _await(is_so: Callable[[], bool], timeout_s: float, otherwise: str) -> None:
    until = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > until:
            raise StartError(f"{otherwise} within {timeout_s:g} s")
        time.sleep(POLL_S)
