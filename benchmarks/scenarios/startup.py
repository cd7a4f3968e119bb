"""How long until the first answer, for a system, for a client, and for the replacement of a worker?

Three beginnings. A whole system from nothing: every subject as the harness starts it, and `maitred up` as a user types it,
with adapters that import little and much. A new client of a system that runs. And a worker that takes the place of one
that was killed.

All files have been read before, so this is a start with a warm page cache.
"""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from maitred.benchmarks.method.recorder import Durations, durations, now_ns
from maitred.benchmarks.method.statistics import latency
from maitred.benchmarks.results import Measurement, Result, Setting
from maitred.benchmarks.scenarios import common
from maitred.benchmarks.scenarios.cold_start import cold_start
from maitred.benchmarks.scenarios.common import Progress, Report, payload_of
from maitred.benchmarks.subjects.maitred_ import Maitred
from maitred.benchmarks.subjects.protocol import Running, Setup, StartError, Subject

__all__ = ["LONG", "Parameters", "run"]

ADAPTERS = {
    "echo": ("maitred.benchmarks.subjects.echo:service", None),
    "numpy": ("maitred.benchmarks.subjects.echo_numpy:service", "numpy"),
    "sklearn": ("maitred.benchmarks.subjects.echo_sklearn:service", "sklearn"),
}
"""By name: the adapter, and what has to be installed for it."""


class Parameters(common.Parameters, frozen=True, kw_only=True):
    """See `common.Parameters`; `rounds` is how often each is started.

    Attributes:
        workers: processes that do the task.
        payload_bytes: of the first request.
        clients: new clients of each that runs, one after the other.
        adapters: of `maitred up`, each of these.
        start_methods: of its workers, each of these.
        kills: workers killed in each `maitred up`.
    """

    rounds: int = 3
    workers: int = 1
    payload_bytes: int = 128
    clients: int = 5
    adapters: tuple[Literal["echo", "numpy", "sklearn"], ...] = ("echo", "numpy", "sklearn")
    start_methods: tuple[Literal["forkserver", "spawn"], ...] = ("forkserver",)
    kills: int = 3


LONG: dict[str, Any] = {"rounds": 15, "clients": 20, "start_methods": ("forkserver", "spawn"), "kills": 5}

Part = tuple[str, str, str, str]
"""Subject, what was timed, adapter, start method."""


class _Times:
    """Durations by what was timed, in the order of their first appearance."""

    def __init__(self) -> None:
        self.found: dict[Part, Durations] = {}

    def add(self, part: Part, nanoseconds: Iterable[int]) -> None:
        self.found.setdefault(part, durations()).extend(nanoseconds)


def run(subjects: Sequence[Subject], parameters: Parameters, progress: Progress) -> Result:
    """Measure."""
    report = Report("startup", parameters, progress)
    times = _Times()
    setup = Setup(parameters.transport, parameters.workers)
    subjects = report.startable(subjects, setup)
    for number, subject in itertools.product(range(parameters.rounds), subjects):
        progress(f"{subject.name}, start {number + 1} of {parameters.rounds}")
        try:
            _start(report, times, subject, setup, parameters)
        except StartError as error:
            report.skip(subject.name, str(error))
    ours = next((subject.name for subject in subjects if isinstance(subject, Maitred)), None)
    if ours is not None:
        _start_up(report, times, ours, parameters)
    report.measurements += [_measurement(part, found, parameters) for part, found in times.found.items()]
    return report.result()


def _measurement(part: Part, found: Durations, parameters: Parameters) -> Measurement:
    subject, what, adapter, start_method = part
    setting: Setting = {
        "transport": parameters.transport,
        "workers": parameters.workers,
        "adapter": adapter,
        "start_method": start_method,
        "part": what,
    }
    return Measurement(subject=subject, setting={k: v for k, v in setting.items() if v != ""}, latency=latency(found))


# --- every subject, as the harness starts it ---


def _start(report: Report, times: _Times, subject: Subject, setup: Setup, parameters: Parameters) -> None:
    """Start a subject, make its first call, and connect further clients."""
    name, began_ns = subject.name, now_ns()
    with subject.start(setup) as running:
        _first_call(running, parameters)
        times.add((name, "start to first reply", "", ""), [now_ns() - began_ns])
        try:
            connected = [_first_call(running, parameters) for _ in range(parameters.clients)]
        except ValueError as error:  # a subject with one caller only
            report.notes.append(f"{name}: no new client: {error}")
            return
    times.add((name, "new client to first reply", "", ""), connected)


def _first_call(running: Running, parameters: Parameters) -> int:
    """Nanoseconds from nothing to the answer of a new caller's first request."""
    began_ns = now_ns()
    caller = running.caller()
    try:
        caller.call(payload_of(parameters.payload_bytes))
        return now_ns() - began_ns
    finally:
        caller.close()


# --- `maitred up` ---


def _start_up(report: Report, times: _Times, name: str, parameters: Parameters) -> None:
    variants = list(itertools.product(_installed(report, parameters.adapters), parameters.start_methods))
    for number in range(parameters.rounds):
        for adapter, start_method in variants:
            report.say(f"maitred up with {adapter}, round {number + 1} of {parameters.rounds}")
            try:
                _one_up(times, name, adapter, start_method, parameters)
            except StartError as error:
                report.skip(f"maitred up with {adapter}", str(error))


def _installed(report: Report, adapters: Sequence[str]) -> list[str]:
    found: list[str] = []
    for adapter in adapters:
        module = ADAPTERS[adapter][1]
        if module is None or importlib.util.find_spec(module) is not None:
            found.append(adapter)
        else:
            report.skip(f"maitred up with {adapter}", f'{module} is not installed: pip install "maitred[ml]"')
    return found


def _one_up(times: _Times, name: str, adapter: str, start_method: str, parameters: Parameters) -> None:
    found = cold_start(
        ADAPTERS[adapter][0],
        workers=parameters.workers,
        start_method=start_method,
        transport=parameters.transport,
        kills=parameters.kills,
    )
    for what, values in (
        ("maitred up to listening", [found.listens_ns]),
        ("maitred up to first reply", [found.replied_ns]),
        ("worker killed to replaced", found.replaced_ns),
        ("SIGTERM to end", [found.ended_ns]),
    ):
        times.add((name, what, adapter, start_method), values)
