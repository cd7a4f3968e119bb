"""What does the death of a worker cost its callers?

Under an open loop, kill -9 to a busy worker. Shown are the requests that were lost, by the error that their caller sees,
and when he sees it; the time until the next success, and until all workers are there again; and the goodput and latency
before, and in stretches after.

With idempotent requests the broker runs what the worker had again, and nothing is lost. It is maitred alone that is
measured: of the others none replaces a worker, and most never tell the caller.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from msgspec.structs import replace

from maitred.benchmarks.method.drivers import drive_futures
from maitred.benchmarks.method.load import Flow, Load
from maitred.benchmarks.method.recorder import Durations, durations, merged, now_ns
from maitred.benchmarks.method.statistics import latency, void_reason
from maitred.benchmarks.method.timeline import Ended, Timeline, first_from
from maitred.benchmarks.results import Measurement, Result, Setting
from maitred.benchmarks.scenarios import common
from maitred.benchmarks.scenarios.common import Progress, Report, payload_of
from maitred.benchmarks.scenarios.killing import Kill, kill_worker
from maitred.benchmarks.subjects.maitred_ import RunningMaitred, SyncCaller, quiet
from maitred.benchmarks.subjects.protocol import Setup, Subject

__all__ = ["LONG", "Parameters", "run"]

OUTSTANDING = 10_000
"""Requests under way at most: more than ever wait, so that each is sent when it is due."""

STRETCHES_S = ((0.0, 0.025), (0.025, 0.1), (0.1, 0.25), (0.25, 1.0))
"""After the kill, in seconds: a replacement takes about 20 ms, and what waited meanwhile some times as long."""


class Parameters(common.Parameters, frozen=True, kw_only=True):
    """See `common.Parameters`; `rounds` is how often a worker is killed.

    Attributes:
        workers: processes that do the task, each of these.
        idempotent: whether requests may run twice, each of these.
        payload_bytes: of each request, and of its answer.
        task_s: seconds that a task sleeps.
        load: what is offered, as a share of workers / task_s.
        before_s: the load lasts so long before the kill.
        after_s: and so long after.
    """

    rounds: int = 5
    workers: tuple[int, ...] = (1, 2)
    idempotent: tuple[bool, ...] = (False, True)
    payload_bytes: int = 128
    task_s: float = 0.01
    load: float = 0.7
    before_s: float = 0.3
    after_s: float = 1.0


LONG: dict[str, Any] = {"rounds": 40, "workers": (1, 2, 4)}


class Killed:
    """What came of one kill: the flow of its block, its requests one by one, and when it was."""

    def __init__(self, flow: Flow, ended: list[Ended], kill: Kill) -> None:
        self.flow, self.ended, self.kill = flow, ended, kill

    def errors_ns(self) -> list[int]:
        """From the kill to each error that a caller saw."""
        return [it.ended_ns - self.kill.killed_ns for it in self.ended if it.error is not None]

    def next_success_ns(self) -> list[int]:
        """From the kill to the next success, if there was any."""
        successes_ns = sorted(it.ended_ns for it in self.ended if it.error is None)
        found = first_from(successes_ns, self.kill.killed_ns)
        return [] if found is None else [found - self.kill.killed_ns]

    def served_ns(self, from_s: float, to_s: float) -> list[int]:
        """How long each request took that succeeded in a stretch around the kill."""
        begin, end = (self.kill.killed_ns + int(at_s * 1e9) for at_s in (from_s, to_s))
        return [it.ended_ns - it.sent_ns for it in self.ended if it.error is None and begin <= it.ended_ns < end]


def run(subjects: Sequence[Subject], parameters: Parameters, progress: Progress) -> Result:
    """Measure."""
    report = Report("failover", parameters, progress)
    for workers in parameters.workers:
        with report.started(list(map(quiet, subjects)), Setup(parameters.transport, workers)) as running:
            for name, it in running.items():
                caller = it.caller()
                try:
                    if isinstance(it, RunningMaitred) and isinstance(caller, SyncCaller):
                        _measure(report, name, it, caller, workers, parameters)
                    else:
                        ours = isinstance(it, RunningMaitred)
                        report.skip(name, "take --ours maitred: only its requests are watched one by one" if ours
                                    else "nothing replaces its workers")  # fmt: skip
                finally:
                    caller.close()
    return report.result()


def _measure(
    report: Report, name: str, running: RunningMaitred, caller: SyncCaller, workers: int, parameters: Parameters
) -> None:
    load = Load(
        payload=payload_of(parameters.payload_bytes),
        task_s=parameters.task_s,
        outstanding=OUTSTANDING,
        seconds=parameters.before_s + parameters.after_s,
        rate_per_s=parameters.load * workers / parameters.task_s,
    )
    parameters.warm_up.run(caller.drive, replace(load, outstanding=2 * workers))
    for idempotent in parameters.idempotent:
        setting: Setting = {
            "transport": parameters.transport,
            "payload_bytes": parameters.payload_bytes,
            "task_s": parameters.task_s,
            "load": parameters.load,
            "workers": workers,
            "idempotent": "yes" if idempotent else "no",
        }
        killed: list[Killed] = []
        for number in range(parameters.rounds):
            report.say(f"{workers} workers, kill {number + 1} of {parameters.rounds}")
            drawn = replace(load, seed=number)
            killed.append(_kill_once(running, caller, drawn, idempotent, parameters.before_s))
        report.measurements += _measurements(name, setting, killed, parameters)


def _kill_once(running: RunningMaitred, caller: SyncCaller, load: Load, idempotent: bool, before_s: float) -> Killed:
    timeline = Timeline()
    submit = functools.partial(caller.submit, load, idempotent=idempotent)
    with ThreadPoolExecutor(1) as other:
        kill = other.submit(kill_worker, running.house.client, now_ns() + int(before_s * 1e9))
        flow = drive_futures(timeline.through(submit), load)
    return Killed(flow, timeline.ended, kill.result())


def _measurements(name: str, setting: Setting, killed: Sequence[Killed], parameters: Parameters) -> list[Measurement]:
    """The rows of one setting: times from the kill, then the requests before and after it."""
    lag = merged(it.flow.lag for it in killed)
    void = void_reason(latency(merged(it.flow.latency for it in killed)), latency(lag))
    told = durations(itertools.chain.from_iterable(it.errors_ns() for it in killed))
    success = durations(itertools.chain.from_iterable(it.next_success_ns() for it in killed))
    replaced = durations(it.kill.replaced_ns - it.kill.killed_ns for it in killed)
    rows = [
        _row(name, setting, "kill to error seen", told, void, failures=_failures(killed),
             values={"lost_per_kill": round(len(told) / len(killed), 3)}),
        _row(name, setting, "kill to next success", success, void),
        _row(name, setting, "kill to all workers there", replaced, void),
    ]  # fmt: skip
    stretches = [(-parameters.before_s, 0.0), *(it for it in STRETCHES_S if it[1] <= parameters.after_s)]
    return rows + [_stretch(name, setting, killed, stretch, void) for stretch in stretches]


def _stretch(
    name: str, setting: Setting, killed: Sequence[Killed], stretch: tuple[float, float], void: str
) -> Measurement:
    """What was served in a stretch around the kill, over all kills."""
    begin_s, end_s = stretch
    served = durations(itertools.chain.from_iterable(it.served_ns(begin_s, end_s) for it in killed))
    part = "requests before" if begin_s < 0 else f"requests {begin_s * 1e3:g} to {end_s * 1e3:g} ms after"
    goodput_per_s = len(served) / (end_s - begin_s) / len(killed)
    return _row(name, setting, part, served, void, values={"goodput_per_s": round(goodput_per_s, 3)})


def _row(
    name: str,
    setting: Setting,
    part: str,
    times: Durations,
    void: str,
    *,
    values: dict[str, float] | None = None,
    failures: dict[str, int] | None = None,
) -> Measurement:
    return Measurement(
        subject=name,
        setting={**setting, "part": part},
        latency=latency(times),
        values=values or {},
        failures=failures or {},
        void=void,
    )


def _failures(killed: Sequence[Killed]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for it in killed:
        for name, times in it.flow.failed.items():
            counts[name] = counts.get(name, 0) + len(times)
    return counts
