"""What the scenarios share: starting subjects, warming them up, and putting together what a run found."""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from maitred.benchmarks.method.environment import environment
from maitred.benchmarks.method.load import Flow, Load
from maitred.benchmarks.method.pairs import Rounds, take_turns
from maitred.benchmarks.method.recorder import Durations, merged
from maitred.benchmarks.method.statistics import compare, is_late, latency, p50_us, p99_us, void_reason
from maitred.benchmarks.method.warmup import WarmUp
from maitred.benchmarks.results import Comparison, Measurement, Result, Setting, Skipped, SubjectNote
from maitred.benchmarks.subjects.protocol import Caller, Running, Setup, StartError, Subject, Transport

__all__ = ["BASELINE", "Parameters", "Progress", "Report", "Runner", "Values", "payload_of"]

BASELINE = "zmq-proxy"
"""What everything is compared with, where it is measured: the floor of a brokered path."""

Progress: TypeAlias = Callable[[str], None]
"""Is told in a few words what is being measured."""

Values: TypeAlias = Callable[[Sequence[Flow]], Mapping[str, float]]
"""Makes figures (as `Measurement.values`) of a subject's blocks."""

Runner: TypeAlias = Callable[[Sequence[Subject], Any, Progress], Result]
"""A scenario's `run`: the subjects, the scenario's own `Parameters`, and who is told how far it is."""


class Parameters(Struct, frozen=True, kw_only=True):
    """What scenarios have in common; each adds its own: `workers` and `payload_bytes`, one value or a tuple to go through.

    Attributes:
        transport: between caller and what is in the middle.
        rounds: how often subjects take turns.
        warm_up: the rule, fixed beforehand.
    """

    transport: Transport = "tcp"
    rounds: int = 10
    warm_up: WarmUp = WarmUp()


class Report:
    """A result in the making.

    Args:
        scenario: its name.
        parameters: its parameters.
        progress: is told what is being measured.
    """

    def __init__(self, scenario: str, parameters: Parameters, progress: Progress) -> None:
        self.say = progress
        self._scenario, self._parameters = scenario, parameters
        self._began, self._began_s = datetime.datetime.now(datetime.UTC), time.monotonic()
        self._environment = environment()
        self._subjects: dict[str, SubjectNote] = {}
        self._skipped: dict[str, Skipped] = {}
        self.measurements: list[Measurement] = []
        self.comparisons: list[Comparison] = []
        self.notes: list[str] = []

    @contextlib.contextmanager
    def started(self, subjects: Sequence[Subject], setup: Setup) -> Generator[dict[str, Running]]:
        """Start all subjects that can be; the others are recorded as skipped, with the reason."""
        with contextlib.ExitStack() as stack:
            running: dict[str, Running] = {}
            for subject in self.startable(subjects, setup):
                self.say(f"starting {subject.name}")
                try:
                    running[subject.name] = stack.enter_context(subject.start(setup))
                except StartError as error:
                    self.skip(subject.name, str(error))
            yield running

    @contextlib.contextmanager
    def callers(self, subjects: Sequence[Subject], setup: Setup, warm_up: Load) -> Generator[dict[str, Caller]]:
        """Start subjects and connect a caller to each; all are warmed up with this load."""
        with self.started(subjects, setup) as running, self.connected(running, warm_up) as callers:
            yield callers

    @contextlib.contextmanager
    def connected(self, running: Mapping[str, Running], warm_up: Load) -> Generator[dict[str, Caller]]:
        """Connect a caller to each of those that run; all are warmed up with this load."""
        with contextlib.ExitStack() as stack:
            callers = {name: it.caller() for name, it in running.items()}
            for caller in callers.values():
                stack.callback(caller.close)
            for name, caller in callers.items():
                self.say(f"warming {name} up")
                self._parameters.warm_up.run(caller.drive, warm_up)
            yield callers

    def startable(self, subjects: Sequence[Subject], setup: Setup) -> list[Subject]:
        """Those that can be started, as far as is known before; the others are recorded as skipped, with the reason."""
        found: list[Subject] = []
        for subject in subjects:
            reason = self._reason(subject, setup)
            if reason is None:
                found.append(subject)
                self._subjects.setdefault(subject.name, SubjectNote(subject.description, subject.versions()))
            else:
                self.skip(subject.name, reason)
        return found

    def _reason(self, subject: Subject, setup: Setup) -> str | None:
        if setup.transport not in subject.transports:
            return f"it has no {setup.transport}"
        return subject.skip_reason()

    def describe(self, subject: str, note: SubjectNote) -> None:
        """Record what a subject is that was not started here."""
        self._subjects.setdefault(subject, note)

    def skip(self, subject: str, reason: str) -> None:
        """Record that a subject was not measured; the first reason stays."""
        self._skipped.setdefault(subject, Skipped(subject, reason))

    def take_turns(
        self, callers: Mapping[str, Caller], load: Load, setting: Setting, values: Values | None = None
    ) -> Rounds:
        """Put a load on every caller in turn, and record each one's latency and throughput in that setting.

        Blocks of an open loop whose generator was late are left out, and counted. A subject with as many of them as of
        others is void, and is compared with nothing.

        Args:
            callers: by subject's name.
            load: of a block.
            setting: what it is recorded with.
            values: makes further figures of a subject's blocks.
        """
        return self.take_turns_at({name: _block(caller, load) for name, caller in callers.items()}, setting, values)

    def take_turns_at(
        self, blocks: Mapping[str, Callable[[], Flow]], setting: Setting, values: Values | None = None
    ) -> Rounds:
        """The same with blocks of any kind, by subject's name."""
        found = take_turns(blocks, self._parameters.rounds, BASELINE)
        for name, flows in list(found.flows.items()):
            if self._measured_on_time(name, setting, flows, values).void:
                del found.flows[name]
        return found

    def _measured_on_time(
        self, subject: str, setting: Setting, flows: Sequence[Flow], values: Values | None
    ) -> Measurement:
        on_time = [flow for flow in flows if not is_late(flow.latency, flow.lag)]
        late = len(flows) - len(on_time)
        void = f"the load generator was late in {late} of {len(flows)} blocks" if late >= len(on_time) else ""
        kept = flows if void else on_time
        figures = {} if values is None else dict(values(kept))
        if any(flow.lag for flow in flows):
            figures["late_blocks"] = late
        return self.measured(subject, setting, kept, void=void, **figures)

    def measured(
        self, subject: str, setting: Setting, flows: Sequence[Flow], *, void: str = "", **values: float
    ) -> Measurement:
        """Record what came of some blocks with one subject in one setting; returns what was recorded.

        Args:
            subject: its name.
            setting: what was held fixed.
            flows: of the blocks.
            void: why it must not be quoted, where that is known already.
            values: further figures, as `Measurement.values`.
        """
        found = latency(merged(flow.latency for flow in flows), histogram=True)
        lag = latency(merged(flow.lag for flow in flows))
        took_s = sum(flow.took_s for flow in flows)
        done = sum(len(flow.latency) for flow in flows)
        measurement = Measurement(
            subject=subject,
            setting=setting,
            latency=found,
            lag=lag,
            values={"throughput_per_s": round(done / took_s, 3) if took_s else 0.0, **values},
            failures=_failures(flows),
            void=void or void_reason(found, lag),
        )
        self.measurements.append(measurement)
        return measurement

    def compare_latency(
        self, rounds: Rounds, setting: Setting, *, baseline: str | None = None, subjects: Sequence[str] | None = None
    ) -> None:
        """Compare p50 and p99 of these subjects, or all, with a baseline, from pairs of blocks that were on time."""
        for figure, of in (("p50", p50_us), ("p99", p99_us)):

            def of_flow(flow: Flow, of: Callable[[Durations], float] = of) -> float:
                return 0.0 if is_late(flow.latency, flow.lag) else of(flow.latency)

            self.compare(figure, rounds, of_flow, setting, baseline=baseline, subjects=subjects)

    def compare(
        self,
        figure: str,
        rounds: Rounds,
        of: Callable[[Flow], float],
        setting: Setting,
        *,
        baseline: str | None = None,
        subjects: Sequence[str] | None = None,
    ) -> None:
        """Compare one figure of these subjects, or all, with a baseline; None is the rounds' own, with its noise floor."""
        self.comparisons += rounds.comparisons(figure, of, setting, baseline=baseline, subjects=subjects)

    def compare_pairs(
        self, figure: str, subject: str, baseline: str, setting: Setting, pairs: Sequence[tuple[float, float]]
    ) -> None:
        """Compare figures that were not taken from flows: (subject's, baseline's), one pair for each round."""
        found = compare(figure, subject, baseline, setting, pairs)
        if found is not None:
            self.comparisons.append(found)

    def result(self) -> Result:
        """The run is over."""
        measured = {measurement.subject for measurement in self.measurements}
        return Result(
            scenario=self._scenario,
            began=self._began.isoformat(timespec="seconds"),
            took_s=round(time.monotonic() - self._began_s, 1),
            parameters=msgspec.to_builtins(self._parameters),
            environment=self._environment,
            subjects={name: note for name, note in self._subjects.items() if name in measured},
            measurements=self.measurements,
            comparisons=self.comparisons,
            skipped=list(self._skipped.values()),
            notes=self.notes,
        )


def payload_of(size: int) -> bytes:
    """A payload of so many bytes, which no transport would find worth compressing."""
    return bytes(range(256)) * (size // 256) + bytes(range(size % 256))


def _block(caller: Caller, load: Load) -> Callable[[], Flow]:
    return lambda: caller.drive(load)


def _failures(flows: Sequence[Flow]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for flow in flows:
        for name, times in flow.failed.items():
            counts[name] = counts.get(name, 0) + len(times)
    return counts
