"""What becomes of requests when more are offered than can be served?

An open loop at a multiple of the capacity, which is measured first, against a pool with a short queue. Shown are the
goodput (what is served), the latency of what is accepted, how soon a refusal is told, and how well the time that it names
(`retry_after`) predicts when there is room: some refused callers come back when they were told to.

Subjects that refuse nothing are offered less: their queue grows for as long as the load lasts.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from maitred.benchmarks.method.drivers import drive_futures
from maitred.benchmarks.method.followers import Followed, Followers
from maitred.benchmarks.method.load import Flow, Load
from maitred.benchmarks.method.pairs import take_turns
from maitred.benchmarks.method.timeline import Ended, Timeline
from maitred.benchmarks.results import Result, Setting
from maitred.benchmarks.scenarios import common
from maitred.benchmarks.scenarios.common import Progress, Report, payload_of
from maitred.benchmarks.scenarios.refusals import figures, told_s
from maitred.benchmarks.subjects.maitred_ import Maitred, SyncCaller, quiet
from maitred.benchmarks.subjects.protocol import Caller, Setup, Subject

__all__ = ["LONG", "Parameters", "run"]

OUTSTANDING = 10_000
"""Requests under way at most: more than ever wait, so that each is sent when it is due."""

OUTSTANDING_PER_WORKER = 4
"""While the capacity is measured: no worker is ever idle."""

UNTOLD = "Refusals named no time to come back (retry_after), so there is no prediction to judge."


class Parameters(common.Parameters, frozen=True, kw_only=True):
    """See `common.Parameters`.

    Attributes:
        workers: processes that do the task.
        payload_bytes: of each request, and of its answer.
        task_s: seconds that a task sleeps.
        max_queue: requests that the pool accepts at a time, running ones included.
        loads: what is offered, as a multiple of the capacity, each of these.
        unbounded_up_to: the highest of these that subjects which refuse nothing are offered.
        seconds: of a block.
        followers: refused callers at a time that come back when they were told to.
    """

    rounds: int = 3
    workers: int = 2
    payload_bytes: int = 128
    task_s: float = 0.01
    max_queue: int = 20
    loads: tuple[float, ...] = (0.5, 1.0, 2.0, 5.0, 10.0)
    unbounded_up_to: float = 1.0
    seconds: float = 1.0
    followers: int = 4


LONG: dict[str, Any] = {
    "rounds": 10,
    "loads": (0.5, 0.8, 0.9, 1.0, 1.1, 1.2, 1.5, 2.0, 5.0, 10.0),
    "unbounded_up_to": 2.0,
    "seconds": 3.0,
}


def run(subjects: Sequence[Subject], parameters: Parameters, progress: Progress) -> Result:
    """Measure."""
    report = Report("saturation", parameters, progress)
    payload = payload_of(parameters.payload_bytes)
    outstanding = min(parameters.workers * OUTSTANDING_PER_WORKER, parameters.max_queue)
    busy = Load(payload=payload, task_s=parameters.task_s, outstanding=outstanding, seconds=parameters.seconds)
    bounded = [_with_queue(subject, parameters.max_queue) for subject in subjects]
    refusing = {subject.name for subject in bounded if isinstance(subject, Maitred)}
    with report.callers(bounded, Setup(parameters.transport, parameters.workers), busy) as callers:
        progress("measuring the capacity of each")
        capacity_per_s = {name: caller.drive(busy).per_s for name, caller in callers.items()}
        for times in parameters.loads:
            offered = {
                name: caller
                for name, caller in callers.items()
                if times <= parameters.unbounded_up_to or name in refusing
            }
            _measure(report, offered, capacity_per_s, times, parameters)
    if any(it.values.get("told_share") == 0 for it in report.measurements):
        report.notes.append(UNTOLD)
    return report.result()


def _with_queue(subject: Subject, max_queue: int) -> Subject:
    return quiet(dataclasses.replace(subject, max_queue=max_queue)) if isinstance(subject, Maitred) else subject


def _measure(
    report: Report,
    callers: Mapping[str, Caller],
    capacity_per_s: Mapping[str, float],
    times: float,
    parameters: Parameters,
) -> None:
    """One multiple of the capacity, all subjects in turn."""
    report.say(f"{times:g} times the capacity, {parameters.rounds} rounds")
    setting: Setting = {
        "transport": parameters.transport,
        "payload_bytes": parameters.payload_bytes,
        "workers": parameters.workers,
        "task_s": parameters.task_s,
        "max_queue": parameters.max_queue,
        "load": times,
    }
    seen = {name: Seen() for name in callers}
    blocks = {
        name: functools.partial(_block, caller, _load(capacity_per_s[name] * times, parameters), parameters, seen[name])
        for name, caller in callers.items()
    }
    rounds = take_turns(blocks, parameters.rounds, baseline=None)  # each has a capacity of its own: no ratios
    for name, flows in rounds.flows.items():
        values = figures(flows, seen[name].ended, seen[name].followed, capacity_per_s[name])
        report.measured(name, setting, flows).values.update(values)


def _load(rate_per_s: float, parameters: Parameters) -> Load:
    return Load(
        payload=payload_of(parameters.payload_bytes),
        task_s=parameters.task_s,
        outstanding=OUTSTANDING,
        seconds=parameters.seconds,
        rate_per_s=rate_per_s,
    )


class Seen:
    """What the blocks of one subject showed besides their flows.

    Attributes:
        ended: every request of each block.
        followed: the refusals that were followed.
    """

    def __init__(self) -> None:
        self.ended: list[list[Ended]] = []
        self.followed: list[Followed] = []


def _block(caller: Caller, load: Load, parameters: Parameters, seen: Seen) -> Flow:
    """One block; only the synchronous client lets each request be watched."""
    if not isinstance(caller, SyncCaller):
        return caller.drive(load)
    attempt = functools.partial(caller.call, load.payload, load.task_s)
    with Followers(attempt, told_s, parameters.followers) as followers:
        timeline = Timeline(lambda it: followers.refused(it.error, it.ended_ns) if it.error is not None else None)
        flow = drive_futures(timeline.through(functools.partial(caller.submit, load)), load)
    seen.ended.append(timeline.ended)
    seen.followed += followers.followed
    return flow
