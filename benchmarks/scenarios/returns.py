"""Does who is told to come back in so many seconds find room then?

Callers arrive at random (Poisson), more of them than can be served; each one that is refused waits and calls again, until
it is served. The same crowd, on the same draw, waits in three ways: as long as the refusal tells it (`retry_after`, with
the place that is kept for it), a fixed second, or with exponential back-off and full jitter, as clients do that are told
nothing. Shown are the share of those refused whose *first* return was served, how often callers called, the goodput, and
the time until callers were served.

Every block has a house of its own, as a broker learns what its callers make of their places.
"""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import anyio
from msgspec.structs import replace

from maitred.benchmarks.method.load import Load
from maitred.benchmarks.method.recorder import now_ns
from maitred.benchmarks.results import Result, Setting
from maitred.benchmarks.scenarios import common
from maitred.benchmarks.scenarios.common import Progress, Report, payload_of
from maitred.benchmarks.scenarios.returns_figures import Block, Came, figures, lateness
from maitred.benchmarks.subjects.maitred_ import AsyncCaller, Execute, Maitred, quiet
from maitred.benchmarks.subjects.protocol import Setup, Subject
from maitred.client.errors import PoolSaturated
from maitred.client.places import kept

__all__ = ["LONG", "OURS", "Parameters", "Wait", "run"]

OURS = "maitred-async"
"""Each caller is a task, to which the place that its refusal gave belongs."""

CROWD = 1_000_000
"""Callers at a time, at most: nobody is held back."""

OUTSTANDING_PER_WORKER = 4
"""While the capacity is measured: no worker is ever idle."""

PATIENCE_S = 600.0
"""Of each request: no deadline has a part in this."""

FIXED_S = 1.0

FIRST_BACKOFF_S = 0.1
LONGEST_BACKOFF_S = 10.0
"""Up to the first before the first return, twice that before the next, and so on up to the longest."""

Wait: TypeAlias = Literal["told", "fixed", "backoff"]


class Parameters(common.Parameters, frozen=True, kw_only=True):
    """See `common.Parameters`; no warm-up but the measuring of the capacity, which teaches the broker its rate.

    Attributes:
        workers: processes that do the task.
        payload_bytes: of each request, and of its answer.
        task_s: seconds that a task sleeps.
        max_queue: requests that the pool accepts at a time, running ones included.
        load: callers that arrive, as a multiple of the capacity.
        seconds: for so long they arrive; then those that are left are served.
        capacity_s: for so long the capacity is measured before.
        waits: how they wait, each of these.
    """

    rounds: int = 1
    workers: int = 2
    payload_bytes: int = 128
    task_s: float = 0.02
    max_queue: int = 20
    load: float = 1.5
    seconds: float = 5.0
    capacity_s: float = 3.0
    waits: tuple[Wait, ...] = ("told", "fixed", "backoff")


LONG: dict[str, Any] = {"rounds": 3, "seconds": 20.0}


def run(subjects: Sequence[Subject], parameters: Parameters, progress: Progress) -> Result:
    """Measure."""
    report = Report("returns", parameters, progress)
    for subject in subjects:
        if isinstance(subject, Maitred) and subject.client in ("trio", "asyncio"):
            _measure(report, subject, parameters)
        else:
            report.skip(subject.name, "its callers are no tasks of an event loop" if isinstance(subject, Maitred)
                        else "it refuses nothing")  # fmt: skip
    return report.result()


def _measure(report: Report, subject: Maitred, parameters: Parameters) -> None:
    blocks: dict[Wait, list[Block]] = {wait: [] for wait in parameters.waits}
    for number in range(parameters.rounds):
        for wait in parameters.waits if number % 2 == 0 else parameters.waits[::-1]:
            report.say(f"round {number + 1} of {parameters.rounds}, waiting: {wait}")
            blocks[wait] += _block(report, subject, wait, number, parameters)
    for wait, found in blocks.items():
        setting: Setting = {
            "transport": parameters.transport,
            "payload_bytes": parameters.payload_bytes,
            "workers": parameters.workers,
            "task_s": parameters.task_s,
            "max_queue": parameters.max_queue,
            "load": parameters.load,
            "wait": wait,
        }
        if found:
            flows = [block.flow for block in found]
            report.measured(subject.name, setting, flows, void=lateness(found), **figures(found, parameters.seconds))


def _block(report: Report, subject: Maitred, wait: Wait, seed: int, parameters: Parameters) -> list[Block]:
    """One crowd in a house of its own; none where that did not start."""
    bounded = quiet(dataclasses.replace(subject, max_queue=parameters.max_queue))
    with report.started([bounded], Setup(parameters.transport, parameters.workers)) as running:
        for it in running.values():
            caller = it.caller()
            assert isinstance(caller, AsyncCaller)
            try:
                return [_crowd(caller, wait, seed, parameters)]
            finally:
                caller.close()
    return []


def _crowd(caller: AsyncCaller, wait: Wait, seed: int, parameters: Parameters) -> Block:
    busy = Load(
        payload=payload_of(parameters.payload_bytes),
        task_s=parameters.task_s,
        outstanding=min(parameters.workers * OUTSTANDING_PER_WORKER, parameters.max_queue),
        seconds=parameters.capacity_s,
        timeout_s=PATIENCE_S,
    )
    capacity_per_s = caller.drive(busy).per_s
    rate_per_s = parameters.load * capacity_per_s
    crowd = replace(busy, outstanding=CROWD, seconds=parameters.seconds, rate_per_s=rate_per_s, seed=seed + 1)
    seconds_to_wait, came = waiting(wait, random.Random(seed)), list[Came]()
    flow = caller.drive_around(
        crowd, lambda execute: functools.partial(until_served, execute, seconds_to_wait, came.append)
    )
    return Block(flow, came, capacity_per_s)


def waiting(wait: Wait, draw: random.Random) -> Callable[[PoolSaturated, int], float]:
    """How long to wait after a refusal, which is the caller's so many-th. Who goes by a rule of its own has no place."""

    def told(error: PoolSaturated, _: int) -> float:
        return FIXED_S if error.retry_after is None else error.retry_after

    def fixed(_: PoolSaturated, __: int) -> float:
        kept.set(None)
        return FIXED_S

    def backoff(_: PoolSaturated, refusals: int) -> float:
        kept.set(None)
        return draw.uniform(0.0, min(FIRST_BACKOFF_S * 2.0 ** (refusals - 1), LONGEST_BACKOFF_S))

    return {"told": told, "fixed": fixed, "backoff": backoff}[wait]


async def until_served(
    execute: Execute, seconds_to_wait: Callable[[PoolSaturated, int], float], note: Callable[[Came], object]
) -> None:
    """One caller: calls, and waits and calls again for as long as it is refused."""
    refusals, waited_s, late_ns = 0, 0.0, 0
    while True:
        try:
            await execute()
        except PoolSaturated as error:
            refusals += 1
            wait_s = seconds_to_wait(error, refusals)
        else:
            note(Came(refusals, waited_s, late_ns, now_ns()))
            return
        back_ns = now_ns() + int(wait_s * 1e9)
        await anyio.sleep(wait_s)
        waited_s, late_ns = waited_s + wait_s, max(late_ns, now_ns() - back_ns)
