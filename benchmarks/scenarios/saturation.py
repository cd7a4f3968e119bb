"""What becomes of requests when more are offered than can be served?

An open loop at a multiple of the capacity, which is measured first, against a pool with a short queue. Shown are the
goodput (what is served), the latency of what is accepted beside what the queue's bound allows, how soon a refusal is told,
how well the time that it names (`retry_after`) predicts when there is room, and what the broker's memory makes of it.

The load is put on by a bare socket (`maitred-wire`): ten times the capacity from one process of a client library would
measure that process. A few callers beside it use the library, and come back when they were told to.

Subjects that refuse nothing are offered less: their queue grows for as long as the load lasts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Mapping, Sequence
from typing import Any

from maitred.benchmarks.method.drivers import drive_futures
from maitred.benchmarks.method.followers import Followed, Followers
from maitred.benchmarks.method.load import Flow, Load
from maitred.benchmarks.method.pairs import take_turns
from maitred.benchmarks.method.resident import forget_peak, peak_bytes, resident_bytes
from maitred.benchmarks.method.timeline import Ended, Timeline
from maitred.benchmarks.results import Result, Setting
from maitred.benchmarks.scenarios import common
from maitred.benchmarks.scenarios.common import Progress, Report, payload_of
from maitred.benchmarks.scenarios.refusals import Bound, figures, told_s
from maitred.benchmarks.subjects.maitred_ import Maitred, RunningMaitred, SyncCaller, quiet
from maitred.benchmarks.subjects.protocol import Caller, Running, Setup, Subject
from maitred.benchmarks.subjects.wire import WireCaller

__all__ = ["LONG", "OURS", "Parameters", "run"]

OURS = "maitred-wire"
"""See above."""

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
        capacity_s: for so long the capacity is measured, before each of the loads.
        rest_s: after each of the loads, before the broker's memory is looked at again.
        followers: callers beside the load that come back when they were told to.
    """

    rounds: int = 3
    workers: int = 2
    payload_bytes: int = 128
    task_s: float = 0.01
    max_queue: int = 20
    loads: tuple[float, ...] = (0.5, 1.0, 2.0, 5.0, 10.0)
    unbounded_up_to: float = 1.0
    seconds: float = 1.0
    capacity_s: float = 1.0
    rest_s: float = 0.5
    followers: int = 4


LONG: dict[str, Any] = {
    "rounds": 10,
    "loads": (0.5, 0.8, 0.9, 1.0, 1.1, 1.2, 1.5, 2.0, 5.0, 10.0),
    "unbounded_up_to": 2.0,
    "seconds": 3.0,
    "capacity_s": 5.0,
    "rest_s": 30.0,
}


class Watched:
    """One subject, and what its blocks at one load showed besides their flows.

    Args:
        running: it.
        caller: that puts the load on it.

    Attributes:
        ended: every request of each block; none where the caller cannot be watched.
        followed: the refusals that were followed.
        served_beside: requests of those who followed them that were served.
        start_bytes: the broker's memory before the first of all loads; 0 where there is no broker of ours.
    """

    def __init__(self, running: Running, caller: Caller) -> None:
        self.caller = caller
        self.ended: list[list[Ended]] = []
        self.followed: list[Followed] = []
        self.served_beside = 0
        self._running = running
        self._broker = running.processes["broker"] if isinstance(running, RunningMaitred) else 0
        self.start_bytes = self._resident()

    def begin_load(self) -> None:
        """Another load: what was seen of the one before is forgotten."""
        self.ended, self.followed, self.served_beside = [], [], 0
        if self._broker:
            forget_peak(self._broker)

    def memory(self) -> dict[str, float]:
        """The figures of the broker's memory, at its end."""
        if not self._broker:
            return {}
        after = self._resident()
        return {
            "rss_peak_bytes": peak_bytes(self._broker),
            "rss_after_bytes": after,
            "rss_after_share": round(after / self.start_bytes, 4),
        }

    def _resident(self) -> int:
        return resident_bytes(self._broker) if self._broker else 0

    def block(self, load: Load, followers: int) -> Flow:
        """Put the load on it, with some callers beside who do as they are told."""
        if not isinstance(self._running, RunningMaitred):
            return self.caller.drive(load)
        with contextlib.closing(SyncCaller(self._running.endpoint)) as beside:
            attempt = functools.partial(beside.call, load.payload, load.task_s)
            with Followers(attempt, told_s, followers) as following:
                flow = self._drive(load)
        self.followed += following.followed
        self.served_beside += sum(at_ns <= flow.ended_ns for at_ns in following.served_ns)
        return flow

    def _drive(self, load: Load) -> Flow:
        timeline = Timeline()
        if isinstance(self.caller, WireCaller):
            flow = self.caller.drive_watched(load, timeline.ended.append)
        elif isinstance(self.caller, SyncCaller):
            flow = drive_futures(timeline.through(functools.partial(self.caller.submit, load)), load)
        else:
            return self.caller.drive(load)
        self.ended.append(timeline.ended)
        return flow


def run(subjects: Sequence[Subject], parameters: Parameters, progress: Progress) -> Result:
    """Measure."""
    report = Report("saturation", parameters, progress)
    busy = _busy(parameters)
    bounded = [_with_queue(subject, parameters.max_queue) for subject in subjects]
    refusing = {subject.name for subject in bounded if isinstance(subject, Maitred)}
    setup = Setup(parameters.transport, parameters.workers)
    with report.started(bounded, setup) as running, report.connected(running, busy) as callers:
        watched = {name: Watched(running[name], caller) for name, caller in callers.items()}
        for times in parameters.loads:
            offered = {
                name: it for name, it in watched.items() if times <= parameters.unbounded_up_to or name in refusing
            }
            _measure(report, offered, times, parameters)
    if any(it.values.get("told_share") == 0 for it in report.measurements):
        report.notes.append(UNTOLD)
    return report.result()


def _with_queue(subject: Subject, max_queue: int) -> Subject:
    return quiet(dataclasses.replace(subject, max_queue=max_queue)) if isinstance(subject, Maitred) else subject


def _measure(report: Report, watched: Mapping[str, Watched], times: float, parameters: Parameters) -> None:
    """One multiple of the capacity, all subjects in turn."""
    report.say(f"the capacity, then {times:g} times that, {parameters.rounds} rounds")
    setting: Setting = {
        "transport": parameters.transport,
        "payload_bytes": parameters.payload_bytes,
        "workers": parameters.workers,
        "task_s": parameters.task_s,
        "max_queue": parameters.max_queue,
        "load": times,
    }
    capacity_per_s = {name: it.caller.drive(_busy(parameters)).per_s for name, it in watched.items()}
    blocks = {
        name: functools.partial(it.block, _load(capacity_per_s[name] * times, parameters), parameters.followers)
        for name, it in watched.items()
    }
    for it in watched.values():
        it.begin_load()
    rounds = take_turns(blocks, parameters.rounds, baseline=None)  # each has a capacity of its own: no ratios
    time.sleep(parameters.rest_s)
    for name, flows in rounds.flows.items():
        it = watched[name]
        bound = Bound(capacity_per_s[name], parameters.max_queue)
        values = figures(flows, it.ended, it.followed, bound, it.served_beside)
        report.measured(name, setting, flows).values.update(values | it.memory())


def _busy(parameters: Parameters) -> Load:
    """Keeps every worker busy, and is never refused."""
    return Load(
        payload=payload_of(parameters.payload_bytes),
        task_s=parameters.task_s,
        outstanding=min(parameters.workers * OUTSTANDING_PER_WORKER, parameters.max_queue),
        seconds=parameters.capacity_s,
    )


def _load(rate_per_s: float, parameters: Parameters) -> Load:
    return Load(
        payload=payload_of(parameters.payload_bytes),
        task_s=parameters.task_s,
        outstanding=OUTSTANDING,
        seconds=parameters.seconds,
        rate_per_s=rate_per_s,
    )
