"""What changed between two runs, and what cannot be said.

Times of two runs hardly compare: the machine has moods. Ratios to the same baseline do, where both runs measured one, so
these are judged, by whether their intervals lie apart. Times are shown beside them and not judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Struct

from maitred.benchmarks.results import Comparison, Measurement, Result, Setting

__all__ = ["Change", "Changes", "compare"]

NOT_COMPARED = ("maitred", "commit", "changed", "load_average")
"""Of an environment: what may differ, as it is what is being compared, or always does."""


class Change(Struct, frozen=True, kw_only=True):
    """One figure in both runs.

    Attributes:
        scenario, subject, setting: what was measured.
        figure: "p50_us", a value's name, or "p50 / zmq-proxy" for a ratio to a baseline.
        before, after: the figure.
        judged: whether both have intervals.
        is_beyond: judged, and the intervals lie apart.
    """

    scenario: str
    subject: str
    setting: Setting
    figure: str
    before: float
    after: float
    judged: bool = False
    is_beyond: bool = False


class Changes(Struct, frozen=True):
    """Two runs side by side.

    Attributes:
        changes: what is in both.
        only_before, only_after: what is in one of them, in words.
        warnings: what differs in their environments.
    """

    changes: list[Change]
    only_before: list[str]
    only_after: list[str]
    warnings: list[str]


def compare(before: Sequence[Result], after: Sequence[Result]) -> Changes:
    """Put two runs side by side. A scenario that a run has twice counts once, the later one."""
    old, new = ({result.scenario: result for result in results} for results in (before, after))
    both = [name for name in old if name in new]
    changes: list[Change] = []
    for name in both:
        changes += _ratios(old[name], new[name])
        changes += _figures(old[name], new[name])
    return Changes(
        changes,
        [name for name in old if name not in new],
        [name for name in new if name not in old],
        list(dict.fromkeys(text for name in both for text in _differences(old[name], new[name]))),
    )


def _ratios(before: Result, after: Result) -> Iterable[Change]:
    earlier = {_pair_key(it): it for it in before.comparisons if not it.is_noise}
    for now in after.comparisons:
        was = earlier.get(_pair_key(now))
        if was is not None and not now.is_noise:
            yield Change(
                scenario=after.scenario,
                subject=now.subject,
                setting=now.setting,
                figure=f"{now.figure} / {now.baseline}",
                before=was.ratio,
                after=now.ratio,
                judged=True,
                is_beyond=now.low > was.high or now.high < was.low,
            )


def _figures(before: Result, after: Result) -> Iterable[Change]:
    earlier = {_key(it): it for it in before.measurements}
    for now in after.measurements:
        was = earlier.get(_key(now))
        if was is None or was.void or now.void:
            continue
        old, new = _all_figures(was), _all_figures(now)
        for figure in old:
            if figure in new:
                yield Change(
                    scenario=after.scenario,
                    subject=now.subject,
                    setting=now.setting,
                    figure=figure,
                    before=old[figure],
                    after=new[figure],
                )


def _all_figures(measurement: Measurement) -> dict[str, float]:
    times = measurement.latency
    found = {} if times is None else {"p50_us": times.p50_us, "p99_us": times.p99_us}
    return {**found, **measurement.values}


def _key(measurement: Measurement) -> tuple[str, bytes]:
    return measurement.subject, msgspec.json.encode(measurement.setting, order="sorted")


def _pair_key(comparison: Comparison) -> tuple[str, str, str, bytes]:
    setting = msgspec.json.encode(comparison.setting, order="sorted")
    return comparison.figure, comparison.subject, comparison.baseline, setting


def _differences(before: Result, after: Result) -> Iterable[str]:
    old, new = msgspec.structs.asdict(before.environment), msgspec.structs.asdict(after.environment)
    for name in old:
        if name not in NOT_COMPARED and old[name] != new[name]:
            yield f"{name}: {old[name]} before, {new[name]} after"
