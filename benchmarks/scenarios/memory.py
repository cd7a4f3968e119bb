"""How much memory does the broker need for a connection, for a request that waits, and what does it keep after a burst?

Resident memory of the broker's process alone, by growth: with so many connections or requests more, divided by their
number. Each round has processes of its own, as memory that was freed is used again and would not be counted.

Beside it a bare ROUTER of libzmq with the same connections and options: what ZeroMQ itself needs, and no broker on it can
do without.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from maitred.benchmarks.results import Result, Setting
from maitred.benchmarks.scenarios import common
from maitred.benchmarks.scenarios.common import Progress, Report, payload_of
from maitred.benchmarks.scenarios.memory_of_connections import Grown, grow, record_connections
from maitred.benchmarks.scenarios.memory_of_requests import Filled, fill, record_requests
from maitred.benchmarks.subjects.bare_router import bare_router
from maitred.benchmarks.subjects.connections import allow_descriptors
from maitred.benchmarks.subjects.maitred_ import Maitred, RunningMaitred, quiet
from maitred.benchmarks.subjects.protocol import Setup, Subject

__all__ = ["FLOOR", "LONG", "Parameters", "run"]

FLOOR = "libzmq-router"

SPARE_QUEUE = 100
"""Requests that the pool takes beyond those that are to wait."""


class Parameters(common.Parameters, frozen=True, kw_only=True):
    """See `common.Parameters`; no warm-up by time, as it is not times that are measured.

    Attributes:
        connections: idle ones, each of these numbers, ascending.
        exchanges: messages each way after which a connection counts as used; the first of `connections` have them.
        queued: requests that wait at a time.
        payload_bytes: of a request that waits, each of these.
        hold_s: seconds that the only worker is busy meanwhile: long enough to fill the queue.
    """

    rounds: int = 3
    connections: tuple[int, ...] = (200, 1000)
    exchanges: int = 256
    queued: int = 1000
    payload_bytes: tuple[int, ...] = (128, 10240)
    hold_s: float = 2.0


LONG: dict[str, Any] = {"rounds": 7, "connections": (200, 1000, 5000), "queued": 5000, "hold_s": 10.0}


def run(subjects: Sequence[Subject], parameters: Parameters, progress: Progress) -> Result:
    """Measure."""
    report = Report("memory", parameters, progress)
    ours = next((subject for subject in subjects if isinstance(subject, Maitred)), None)
    for subject in subjects:
        if subject is not ours:
            report.skip(subject.name, f"it is maitred's broker that is looked at, and {FLOOR} beside it")
    if ours is None:
        return report.result()
    if allow_descriptors(max(parameters.connections)):
        _connections(report, ours, parameters)
    else:
        report.notes.append("Connections were left out: this process may not open so many files (ulimit -Hn).")
    for size in parameters.payload_bytes:
        _requests(report, ours, size, parameters)
    return report.result()


def _connections(report: Report, ours: Maitred, parameters: Parameters) -> None:
    grown: dict[str, list[list[Grown]]] = {ours.name: [], FLOOR: []}
    counts, exchanges = parameters.connections, parameters.exchanges
    for number in range(parameters.rounds):
        report.say(f"round {number + 1}: up to {max(counts):,} connections")
        with report.started([quiet(ours)], Setup(parameters.transport, 1)) as running:
            for it in running.values():
                assert isinstance(it, RunningMaitred)
                grown[ours.name].append(grow(it.processes["broker"], it.endpoint, counts, exchanges, greets=True))
        with bare_router(parameters.transport) as floor:
            grown[FLOOR].append(grow(floor.pid, floor.endpoint, counts, exchanges, greets=False))
    if grown[ours.name]:
        setting: Setting = {"transport": parameters.transport}
        record_connections(report, grown, ours.name, FLOOR, setting)


def _requests(report: Report, ours: Maitred, size: int, parameters: Parameters) -> None:
    roomy = dataclasses.replace(ours, max_queue=parameters.queued + SPARE_QUEUE)
    filled: list[Filled] = []
    for number in range(parameters.rounds):
        report.say(f"round {number + 1}: {parameters.queued:,} requests of {size:,} bytes wait")
        with report.started([quiet(roomy)], Setup(parameters.transport, 1)) as running:
            for it in running.values():
                assert isinstance(it, RunningMaitred)
                filled.append(
                    fill(it.processes["broker"], it.endpoint, payload_of(size), parameters.queued, parameters.hold_s)
                )
    setting: Setting = {"transport": parameters.transport, "queued": parameters.queued, "payload_bytes": size}
    if filled:
        record_requests(report, filled, ours.name, setting)
