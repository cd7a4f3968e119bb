"""What does another client's flood of requests do to one who asks for one thing at a time?

The one is timed: a closed loop, one request outstanding. The other, in a process of its own, keeps so many outstanding:
none, a few, or thousands. The pool serves the same tasks and as many of them a second with a few as with thousands, as
every worker is busy in both: so what the thousands do beyond that is the queue's doing, and a fair queue makes nothing of
them. The ratio of the two p99 is what is judged, from blocks that take turns.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

from maitred.benchmarks.method.load import Flow, Load
from maitred.benchmarks.method.pairs import take_turns
from maitred.benchmarks.method.recorder import Durations
from maitred.benchmarks.method.statistics import p50_us, p99_us
from maitred.benchmarks.results import Result, Setting, SubjectNote
from maitred.benchmarks.scenarios import common
from maitred.benchmarks.scenarios.common import Progress, Report, payload_of
from maitred.benchmarks.subjects.maitred_ import POOL, Maitred, RunningMaitred, quiet
from maitred.benchmarks.subjects.protocol import Caller, Setup, Subject
from maitred.benchmarks.subjects.rival import Rival, rival

__all__ = ["LONG", "Parameters", "run"]

SPARE_QUEUE = 1000
"""Requests that the pool takes beyond the flood: nothing is refused here."""


class Parameters(common.Parameters, frozen=True, kw_only=True):
    """See `common.Parameters`.

    Attributes:
        workers: processes that do the task.
        payload_bytes: of each request, and of its answer.
        task_s: seconds that a task sleeps, the other client's too.
        flood: requests that the other client keeps outstanding.
        few: and so many in the blocks that these are compared with, for each worker: one runs, the others wait.
        seconds: of a block.
    """

    rounds: int = 3
    workers: int = 2
    payload_bytes: int = 128
    task_s: float = 0.005
    flood: int = 10_000
    few: int = 2
    seconds: float = 2.0


LONG: dict[str, Any] = {"rounds": 15, "seconds": 4.0}


class Beside:
    """One client that is timed, beside another.

    Args:
        running: the house.
        caller: of the client that is timed.
        parameters: the scenario's.
        outstanding: requests that the other one keeps under way; 0: there is no other one.

    Attributes:
        pool_per_s: what the pool served in a second, of both, in each block.
    """

    def __init__(self, running: RunningMaitred, caller: Caller, parameters: Parameters, outstanding: int) -> None:
        self.pool_per_s: list[float] = []
        self._running, self._caller, self._parameters = running, caller, parameters
        self._outstanding = outstanding

    def block(self) -> Flow:
        """One block, with the other client from its beginning to its end."""
        it, client = self._parameters, self._running.house.client
        load = Load(payload=payload_of(it.payload_bytes), task_s=it.task_s, seconds=it.seconds)
        wanted = Rival(self._running.endpoint, POOL, self._outstanding, it.task_s, load.payload)
        with rival(wanted, client) if self._outstanding else contextlib.nullcontext():
            before = client.pools()[0]["completed"]
            flow = self._caller.drive(load)
            self.pool_per_s.append((client.pools()[0]["completed"] - before) / flow.took_s)
        return flow


def run(subjects: Sequence[Subject], parameters: Parameters, progress: Progress) -> Result:
    """Measure."""
    report = Report("fairness", parameters, progress)
    ours = [subject for subject in subjects if isinstance(subject, Maitred)]
    for subject in subjects:
        if subject not in ours:
            report.skip(subject.name, "it has no queue that clients share by a rule")
    roomy = [quiet(dataclasses.replace(it, max_queue=parameters.flood + SPARE_QUEUE)) for it in ours]
    warm_up = Load(payload=payload_of(parameters.payload_bytes), task_s=parameters.task_s, seconds=1.0)
    setup = Setup(parameters.transport, parameters.workers)
    with report.started(roomy, setup) as running, report.connected(running, warm_up) as callers:
        for name, it in running.items():
            assert isinstance(it, RunningMaitred)
            _measure(report, name, it, callers[name], parameters)
    return report.result()


def _measure(report: Report, name: str, running: RunningMaitred, caller: Caller, parameters: Parameters) -> None:
    report.say(f"{name} beside nobody, a few and {parameters.flood:,} requests, {parameters.rounds} rounds")
    few = f"{name} beside a few"
    others = {f"{name} alone": 0, few: parameters.few * parameters.workers, f"{name} beside a flood": parameters.flood}
    beside = {who: Beside(running, caller, parameters, outstanding) for who, outstanding in others.items()}
    rounds = take_turns({who: it.block for who, it in beside.items()}, parameters.rounds, baseline=few)
    setting: Setting = {
        "transport": parameters.transport,
        "payload_bytes": parameters.payload_bytes,
        "workers": parameters.workers,
        "task_s": parameters.task_s,
    }
    for who, flows in rounds.flows.items():
        served = beside[who].pool_per_s
        report.describe(who, SubjectNote(f"one request at a time, while another client has {others[who]:,}", {}))
        report.measured(who, setting, flows, pool_per_s=round(sum(served) / len(served), 1))
    for figure, of in (("p50", p50_us), ("p99", p99_us)):
        report.compare(figure, rounds, functools.partial(_figure, of), setting)


def _figure(of: Callable[[Durations], float], flow: Flow) -> float:
    return of(flow.latency)
