"""Does a request cost the broker more when a hundred thousand wait than when a hundred do?

Measured twice. The **process**: a real broker whose client keeps so many requests outstanding, so that each answer takes
one out of the queue and a new request puts one in; the processor time of all the broker's threads, divided by what was
served meanwhile. The **core**: the broker's state machine alone, in this process, fed one request and one answer at a
time (`depth_of_core.py`); less noise, and no sockets to hide the queue's share.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from maitred.benchmarks.method.processor import Used, is_known, used_by
from maitred.benchmarks.results import Measurement, Result, Setting
from maitred.benchmarks.scenarios import common
from maitred.benchmarks.scenarios.common import Progress, Report, payload_of
from maitred.benchmarks.scenarios.depth_of_core import CoreAtDepth
from maitred.benchmarks.subjects.maitred_ import POOL, Maitred, RunningMaitred, quiet
from maitred.benchmarks.subjects.protocol import Setup, Subject
from maitred.benchmarks.subjects.rival import Rival, rival

__all__ = ["LONG", "Parameters", "run"]

ROOM = 2
"""The pool takes this times the greatest depth: nothing is refused."""


class Parameters(common.Parameters, frozen=True, kw_only=True):
    """See `common.Parameters`; each depth is reached before anything is measured, which is warm-up enough.

    Attributes:
        depths: requests that are outstanding, each of these; the first is what the others are compared with.
        workers: processes that do the task, which is to give the payload back.
        payload_bytes: of each request, and of its answer.
        seconds: of a block of the process.
        core_requests: in a block of the core.
        core_rounds: blocks of the core; 0 leaves it out.
    """

    rounds: int = 3
    depths: tuple[int, ...] = (100, 10_000)
    workers: int = 2
    payload_bytes: int = 128
    seconds: float = 1.0
    core_requests: int = 500
    core_rounds: int = 21


LONG: dict[str, Any] = {"rounds": 7, "depths": (100, 10_000, 100_000), "seconds": 4.0, "core_rounds": 101}


def run(subjects: Sequence[Subject], parameters: Parameters, progress: Progress) -> Result:
    """Measure."""
    report = Report("depth", parameters, progress)
    ours = next((subject for subject in subjects if isinstance(subject, Maitred)), None)
    for subject in subjects:
        if subject is not ours:
            report.skip(subject.name, "it is maitred's broker that is looked at")
    if ours is None:
        return report.result()
    if is_known():
        _process(report, ours, parameters)
    else:
        report.notes.append("The process was left out: this kernel does not count processor time by thread.")
    if parameters.core_rounds:
        _core(report, ours.name, parameters)
    return report.result()


def _process(report: Report, ours: Maitred, parameters: Parameters) -> None:
    roomy = quiet(dataclasses.replace(ours, max_queue=ROOM * max(parameters.depths)))
    costs: dict[int, list[Cost]] = {depth: [] for depth in parameters.depths}
    with report.started([roomy], Setup(parameters.transport, parameters.workers)) as running:
        for it in running.values():
            assert isinstance(it, RunningMaitred)

            def cost(depth: int, it: RunningMaitred = it) -> Cost:
                return _cost(it, depth, parameters)

            _in_turns(report, "process", costs, cost, parameters.rounds)
    if all(costs.values()):
        setting: Setting = {
            "payload_bytes": parameters.payload_bytes,
            "part": "process",
            "transport": parameters.transport,
            "workers": parameters.workers,
        }
        _record(report, ours.name, setting, costs)


def _core(report: Report, name: str, parameters: Parameters) -> None:
    report.say(f"the core with {', '.join(f'{depth:,}' for depth in parameters.depths)} requests that wait")
    cores = {depth: CoreAtDepth(depth, payload_of(parameters.payload_bytes)) for depth in parameters.depths}
    costs: dict[int, list[Cost]] = {depth: [] for depth in cores}

    def cost(depth: int) -> Cost:
        core = cores[depth]
        return Cost(Used(own_ns=core.spend(parameters.core_requests)), parameters.core_requests, core.waiting)

    _in_turns(report, "core", costs, cost, parameters.core_rounds)
    _record(report, name, {"payload_bytes": parameters.payload_bytes, "part": "core"}, costs)


class Cost:
    """What a block took.

    Attributes:
        used: processor time.
        served: requests that were put in, taken out and answered.
        waiting: how many were in the queue at its end.
    """

    def __init__(self, used: Used, served: int, waiting: int) -> None:
        self.used, self.served, self.waiting = used, max(served, 1), waiting

    @property
    def all_us(self) -> float:
        """Of one request, all threads."""
        return (self.used.own_ns + self.used.io_ns) / self.served / 1e3

    @property
    def own_us(self) -> float:
        """Of one request, without libzmq's threads."""
        return self.used.own_ns / self.served / 1e3


def _in_turns(
    report: Report, part: str, costs: Mapping[int, list[Cost]], cost: Callable[[int], Cost], rounds: int
) -> None:
    """Every depth once in each round; every second round runs backwards."""
    for number in range(rounds):
        for depth in list(costs)[:: 1 if number % 2 == 0 else -1]:
            report.say(f"{part}, round {number + 1} of {rounds}: {depth:,} requests wait")
            costs[depth].append(cost(depth))


def _cost(running: RunningMaitred, depth: int, parameters: Parameters) -> Cost:
    """One block of the process: a client that keeps so many outstanding comes, is served for a while, and leaves."""
    client, pid = running.house.client, running.house.broker.pid
    wanted = Rival(running.endpoint, POOL, depth, payload=payload_of(parameters.payload_bytes))
    with rival(wanted, client):
        done, used = client.pools()[0]["completed"], used_by([pid])[pid]
        time.sleep(parameters.seconds)
        used, row = used_by([pid])[pid] - used, client.pools()[0]
        return Cost(used, row["completed"] - done, row["queued"])


def _record(report: Report, name: str, setting: Setting, costs: Mapping[int, Sequence[Cost]]) -> None:
    depths = list(costs)
    for depth, found in costs.items():
        waiting = min(it.waiting for it in found)
        total = Cost(sum((it.used for it in found), Used()), sum(it.served for it in found), waiting)
        values = {"request_us": round(total.all_us, 2), "own_us": round(total.own_us, 2)}
        counts = {"served": total.served, "waiting": waiting}
        report.measurements.append(
            Measurement(subject=name, setting={**setting, "depth": depth}, values=values | counts)
        )
    for depth in depths[1:]:
        pairs = [(above.all_us, below.all_us) for above, below in zip(costs[depth], costs[depths[0]], strict=True)]
        report.compare_pairs("cost of a request", f"{depth:,} waiting", f"{depths[0]:,} waiting", setting, pairs)
