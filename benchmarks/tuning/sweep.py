"""Each candidate in turns with what is in force, one at a time; then those with a gain together, in turns again.

Two houses run at a time, so the memory of two pools is needed. A gain must lie beyond the noise floor (what is in force
against itself, in the same turns); what is recommended must show it a second time, all changes together.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from maitred.benchmarks.method.environment import versions_of
from maitred.benchmarks.method.load import Flow, Load
from maitred.benchmarks.method.pairs import take_turns
from maitred.benchmarks.method.statistics import p50_us
from maitred.benchmarks.report.words import size
from maitred.benchmarks.results import Comparison, Result, Setting, SubjectNote
from maitred.benchmarks.scenarios import common
from maitred.benchmarks.scenarios.common import Progress, Report
from maitred.benchmarks.tuning.advice import Trial, best_of_each, outcome
from maitred.benchmarks.tuning.knobs import Knob
from maitred.benchmarks.tuning.target import InForce, Target
from maitred.benchmarks.tuning.trial import Caller, FirstCall, caller_in, first_call, started
from maitred.testing import House

__all__ = ["LONG", "QUICK", "Found", "Parameters", "TooLong", "sweep"]

IN_FORCE = "as it is"
"""The baseline's name."""

OURS = "maitred"

START_S = 1.5
"""What a house takes to start, warm up and end, for the estimate of a run."""

CALLS_IN_BLOCK = 3
"""At least, one after the other, for commands that take long."""

FEWEST_ROUNDS = 5
"""Below this a bootstrap over the rounds says nothing."""


class TooLong(ValueError):
    """The run would take longer than it may; the text says what to do."""


class Parameters(common.Parameters, frozen=True, kw_only=True):
    """See `common.Parameters`; `rounds` is how often at most a candidate takes turns with what is in force.

    Attributes:
        block_s: seconds of a block; longer where a call takes long.
        outstanding: calls under way while throughput is measured.
        values: of each setting, so many candidates; None: all.
        budget_s: seconds that a run may take, about; there are as many rounds as it has room for, from FEWEST_ROUNDS on.
    """

    rounds: int = 20
    block_s: float = 0.15
    outstanding: int = 32
    values: int | None = None
    budget_s: float = 150.0


QUICK: dict[str, Any] = {"rounds": 8, "block_s": 0.1, "values": 1, "budget_s": 60.0}
LONG: dict[str, Any] = {"rounds": 40, "block_s": 0.3, "budget_s": 24 * 3600.0}


class Found(Struct, frozen=True):
    """What a sweep found.

    Attributes:
        result: all that was measured, as data.
        trials: each candidate.
        accepted: those that are recommended.
        together: the ratios of all of them together; empty where none is.
    """

    result: Result
    trials: list[Trial]
    accepted: list[Trial]
    together: list[Comparison]


def sweep(target: Target, knobs: Sequence[Knob], parameters: Parameters, progress: Progress) -> Found:
    """Measure.

    Raises:
        TryError: the load does not work.
        TooLong: it would take longer than `budget_s`.
        StartError, RuntimeError: a house did not start.
    """
    report = Report("tune", parameters, progress)
    description = f"{target.command!r} of {target.adapter}, {target.workers} workers"
    report.describe(OURS, SubjectNote(description, versions_of("maitred", "pyzmq")))
    progress("starting it as it is")
    with started(target, target.in_force) as house:
        seen = first_call(house, target)
        candidates = _candidates(target, [it for it in knobs if it.from_bytes <= seen.body_bytes], parameters)
        small = [it.name for it in knobs if it.from_bytes > seen.body_bytes]
        report.notes += [f"{name}: not tried, as no body has more than {size(seen.body_bytes)}" for name in small]
        bench = _Bench(report, house, target, _fitting(parameters, seen, len(candidates)), seen)
        with caller_in(house, target, target.in_force, bench.pipelined) as now:
            trials = [bench.trial(now, knob, value) for knob, value in candidates]
            accepted, together = bench.confirm(now, trials)
    return Found(report.result(), trials, accepted, together)


def _candidates(target: Target, knobs: Sequence[Knob], parameters: Parameters) -> list[tuple[Knob, Any]]:
    found: list[tuple[Knob, Any]] = []
    for knob in knobs:
        values = [value for value in knob.values if value != target.in_force.value(knob)]
        found += [(knob, value) for value in values[: parameters.values]]
    return found


def _fitting(parameters: Parameters, seen: FirstCall, candidates: int) -> Parameters:
    """As many rounds as the time allows."""
    single_s, pipelined_s = _block_s(parameters, seen)
    round_s = 3 * (single_s + pipelined_s)
    for_rounds_s = parameters.budget_s / (candidates + 2) - START_S  # two more: what is confirmed, at most twice
    rounds = min(parameters.rounds, int(for_rounds_s / round_s))
    if rounds < min(FEWEST_ROUNDS, parameters.rounds):
        minutes = (candidates + 2) * (START_S + FEWEST_ROUNDS * round_s) / 60
        raise TooLong(
            f"a call takes {seen.took_s:.3g} s, so this would take {minutes:.0f} min, and what can be tuned is a "
            f"millisecond of it at most; --long measures it all the same, --only names fewer settings"
        )
    return replace(parameters, rounds=rounds)


def _block_s(parameters: Parameters, seen: FirstCall) -> tuple[float, float]:
    """How long a block lasts: one call at a time, and many."""
    least_s = CALLS_IN_BLOCK * seen.took_s
    return max(parameters.block_s, least_s), max(parameters.block_s, 2 * least_s)


class _Bench:
    """Compares settings with those in force."""

    def __init__(self, report: Report, house: House, target: Target, parameters: Parameters, seen: FirstCall) -> None:
        self._report, self._house, self._target, self._parameters = report, house, target, parameters
        single_s, pipelined_s = _block_s(parameters, seen)
        self.single = Load(seconds=single_s)
        self.pipelined = Load(seconds=pipelined_s, outstanding=parameters.outstanding)

    def trial(self, now: Caller, knob: Knob, value: Any) -> Trial:
        """Try one value of one setting."""
        label = f"{knob.name} = {knob.text(value)}"
        found = self._compare(now, label, self._target.in_force.changed(knob, value))
        return Trial(knob, value, found, outcome(found, self._report.comparisons))

    def confirm(self, now: Caller, trials: Sequence[Trial]) -> tuple[list[Trial], list[Comparison]]:
        """What shows its gain again: all that had one together, or else the largest alone."""
        best = best_of_each(trials)
        for accepted in (best, best[:1]) if len(best) > 1 else (best,) if best else ():
            changed = self._target.in_force
            for trial in accepted:
                changed = changed.changed(trial.knob, trial.value)
            label = "again: " + ", ".join(f"{it.knob.name} = {it.knob.text(it.value)}" for it in accepted)
            found = self._compare(now, label, changed)
            if outcome(found, self._report.comparisons) == "gain":
                return list(accepted), found
        return [], []

    def _compare(self, now: Caller, label: str, changed: InForce) -> list[Comparison]:
        self._report.say(label)
        setting: Setting = {
            "workers": self._target.workers,
            "outstanding": self._parameters.outstanding,
            "tried": label,
        }
        with self._candidate(changed) as other:
            callers = {IN_FORCE: now, OURS: other}
            single = self._turns(callers, self.single, "p50", lambda flow: p50_us(flow.latency), setting)
            pipelined = self._turns(callers, self.pipelined, "throughput", lambda flow: flow.per_s, setting)
        throughput_per_s = sum(len(flow.latency) for flow in pipelined) / sum(flow.took_s for flow in pipelined)
        measured = self._report.measured(OURS, setting, single)
        measured.values["throughput_per_s"] = round(throughput_per_s, 1)
        return [it for it in self._report.comparisons if it.setting == setting and not it.is_noise]

    def _turns(
        self, callers: dict[str, Caller], load: Load, figure: str, of: Callable[[Flow], float], setting: Setting
    ) -> list[Flow]:
        """Take turns with what is in force; returns the candidate's flows."""
        blocks = {name: _block(caller, load) for name, caller in callers.items()}
        rounds = take_turns(blocks, self._parameters.rounds, IN_FORCE)
        self._report.compare(figure, rounds, of, setting)
        return rounds.flows[OURS]

    @contextlib.contextmanager
    def _candidate(self, changed: InForce) -> Generator[Caller]:
        """A caller of a house with other settings; of the same house, where only the caller's differ."""
        with contextlib.ExitStack() as stack:
            now = self._target.in_force
            same = (changed.broker, changed.pool) == (now.broker, now.pool)
            house = self._house if same else stack.enter_context(started(self._target, changed))
            yield stack.enter_context(caller_in(house, self._target, changed, self.pipelined))


def _block(caller: Caller, load: Load) -> Callable[[], Flow]:
    return lambda: caller.drive(load)
