"""A house with some settings and a caller in it: what a candidate is tried with."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Generator
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal
from msgspec import Struct

from maitred.benchmarks.method.drivers import drive_async, drive_calls
from maitred.benchmarks.method.load import Flow, Load
from maitred.benchmarks.method.warmup import WarmUp
from maitred.benchmarks.tuning.target import InForce, Target
from maitred.client import AsyncClient, Client
from maitred.protocol import limits
from maitred.protocol.body import encode_body, set_out_of_band
from maitred.testing import House, Pool, running

__all__ = ["Caller", "FirstCall", "TryError", "caller_in", "first_call", "started"]

POOL = "general"

CALL_TIMEOUT_S = 60.0
"""Of each call: what takes longer is not tuned by microseconds."""

WARM_UP = WarmUp(requests=100, seconds=0.2, at_most_s=2.0)
"""Shorter than the scenarios': a dozen houses are started in a run."""


class TryError(Exception):
    """The load does not work; the text says why."""


class FirstCall(Struct, frozen=True):
    """What the first calls of a load showed.

    Attributes:
        took_s: one call, the shortest of some.
        body_bytes: the larger one of request and answer.
    """

    took_s: float
    body_bytes: int


class Caller:
    """Calls the target's command in a house that runs: one at a time by `Client`, many by `AsyncClient` under trio.

    Not by `Client.submit`: its two threads contend for Python's lock, which varies more than what is tuned.

    Args:
        house: where.
        target: what.
        in_force: the settings of the house.
    """

    def __init__(self, house: House, target: Target, in_force: InForce) -> None:
        endpoint = house.clients if in_force.transport == "ipc" else house.clients_tcp
        self._exits = contextlib.ExitStack()
        self._client = self._exits.enter_context(Client(endpoint))
        self._portal: BlockingPortal = self._exits.enter_context(start_blocking_portal("trio"))
        self._async_client = AsyncClient(endpoint)
        self._exits.enter_context(self._portal.wrap_async_context_manager(self._async_client))
        self._call = (POOL, target.command, target.arguments)
        self._out_of_band = in_force.pool.get("out_of_band_bytes", limits.OUT_OF_BAND_BYTES)

    def drive(self, load: Load) -> Flow:
        """Put a load on the house. This process writes its arguments as the house's workers write their answers."""
        set_out_of_band(self._out_of_band)
        try:
            if load.outstanding == 1:
                return drive_calls(lambda: self._client.execute(*self._call, timeout=CALL_TIMEOUT_S), load)
            execute = functools.partial(self._async_client.execute, *self._call, timeout=CALL_TIMEOUT_S)
            return self._portal.call(drive_async, execute, load)
        finally:
            set_out_of_band(limits.OUT_OF_BAND_BYTES)

    def close(self) -> None:
        """End the connections."""
        self._exits.close()


@contextlib.contextmanager
def started(target: Target, in_force: InForce) -> Generator[House]:
    """Start the target with some settings.

    Raises:
        StartError: the broker did not start.
        RuntimeError: the workers did not become ready.
    """
    pool = Pool(target.adapter, size=target.workers, timeout_s=CALL_TIMEOUT_S, settings=in_force.pool)
    ready_s = in_force.pool.get("startup_timeout_s", CALL_TIMEOUT_S)
    with running(pool, broker={"log_level": "error", **in_force.broker}, ready_timeout_s=ready_s) as house:
        yield house


@contextlib.contextmanager
def caller_in(house: House, target: Target, in_force: InForce, warm_up: Load) -> Generator[Caller]:
    """Connect a caller to a house, and warm both up."""
    caller = Caller(house, target, in_force)
    try:
        WARM_UP.run(caller.drive, warm_up)
        yield caller
    finally:
        caller.close()


def first_call(house: House, target: Target) -> FirstCall:
    """Try the load.

    Raises:
        TryError: a call failed.
    """
    took_s: list[float] = []
    answer: Any = None
    for _ in range(3):
        began_s = time.perf_counter()
        try:
            answer = house.client.execute(POOL, target.command, target.arguments, timeout=CALL_TIMEOUT_S)
        except Exception as error:
            raise TryError(f"calling {target.command!r} of {target.adapter} failed: {error}") from None
        took_s.append(time.perf_counter() - began_s)
    sizes = (_body_bytes(target.arguments), _body_bytes(answer))
    return FirstCall(min(took_s), max(sizes))


def _body_bytes(value: Any) -> int:
    return sum(len(frame) if isinstance(frame, bytes) else memoryview(frame).nbytes for frame in encode_body(value))
