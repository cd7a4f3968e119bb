"""How many requests a second get through?

By how many are outstanding, how many workers there are, and how long each task takes. With tasks that take
long it shows how well workers are kept busy: n workers do n / task_s of them in a second at best.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from maitred.benchmarks.method.load import Flow, Load
from maitred.benchmarks.results import Result, Setting
from maitred.benchmarks.scenarios import common
from maitred.benchmarks.scenarios.common import BASELINE, Progress, Report, payload_of
from maitred.benchmarks.subjects.protocol import Caller, Setup, Subject

__all__ = ["LONG", "Parameters", "run"]


class Parameters(common.Parameters, frozen=True, kw_only=True):
    """See `common.Parameters`.

    Attributes:
        outstanding: requests under way, each of these.
        workers: processes that do the task, each of these.
        payload_bytes: of each request, and of its answer.
        tasks_s: seconds that a task sleeps, each of these.
        seconds: of a block.
    """

    rounds: int = 4
    outstanding: tuple[int, ...] = (1, 16, 64)
    workers: tuple[int, ...] = (2,)
    payload_bytes: int = 128
    tasks_s: tuple[float, ...] = (0.0,)
    seconds: float = 0.3


SAME_CLIENT = {"maitred": "zmq-proxy-sync", "maitred-async": "zmq-proxy-async"}
"""What has the same client's cost with libzmq's proxy for a broker."""

LONG: dict[str, Any] = {
    "rounds": 10,
    "outstanding": (1, 2, 4, 8, 16, 32, 64, 128, 256),
    "workers": (1, 2, 4),
    "tasks_s": (0.0, 0.001, 0.01),
    "seconds": 1.0,
}


def run(subjects: Sequence[Subject], parameters: Parameters, progress: Progress) -> Result:
    """Measure."""
    report = Report("throughput", parameters, progress)
    payload = payload_of(parameters.payload_bytes)
    for workers in parameters.workers:
        warm_up = Load(payload=payload, outstanding=max(parameters.outstanding), seconds=parameters.seconds)
        with report.callers(subjects, Setup(parameters.transport, workers), warm_up) as callers:
            for task_s, outstanding in itertools.product(parameters.tasks_s, parameters.outstanding):
                load = Load(payload=payload, task_s=task_s, outstanding=outstanding, seconds=parameters.seconds)
                _measure(report, callers, load, workers, parameters)
    return report.result()


def _measure(report: Report, callers: Mapping[str, Caller], load: Load, workers: int, parameters: Parameters) -> None:
    setting: Setting = {
        "transport": parameters.transport,
        "payload_bytes": parameters.payload_bytes,
        "workers": workers,
        "outstanding": load.outstanding,
        "task_s": load.task_s,
    }
    report.say(f"{workers} workers, {load.outstanding} outstanding, tasks of {load.task_s * 1e3:g} ms")
    rounds = report.take_turns(callers, load, setting)
    report.compare("throughput", rounds, per_s, setting)
    for ours, floor in SAME_CLIENT.items():
        if ours in rounds.flows:
            report.compare("throughput", rounds, per_s, setting, baseline=floor, subjects=[ours])
    others = [name for name in rounds.flows if name not in (*SAME_CLIENT.values(), BASELINE)]
    if "maitred" in others and len(others) > 1:
        report.compare("throughput", rounds, per_s, setting, baseline="maitred", subjects=others)


def per_s(flow: Flow) -> float:
    """The figure: successes in a second."""
    return flow.per_s
