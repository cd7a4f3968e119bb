"""What the raw values say: percentiles, the median ratio of pairs with its interval, and when a run is void.

Percentiles are exact (nearest rank, over all values). The interval of a ratio is a percentile bootstrap over the pairs,
with a fixed seed: the same values give the same interval.
"""

from __future__ import annotations

import functools
import importlib
import math
import random
import statistics
from collections.abc import Sequence
from typing import Any

from maitred.benchmarks.method.recorder import Durations
from maitred.benchmarks.results import Comparison, Latency, Setting

__all__ = ["compare", "interval_of_median", "is_late", "latency", "p50_us", "p99_us", "percentile", "void_reason"]

RESAMPLES = 2000
"""Of a bootstrap: the ends of a 95 % interval move by less than a percent of its width between seeds."""

CONFIDENCE = 0.95

MAX_LAG_SHARE = 0.1
"""A load generator that was late by more than this share of the p99 measured itself."""

CURVE = (0.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 75.0, 80.0, 85.0, 90.0, 92.5, 95.0, 97.5, 98.0, 99.0,
         99.5, 99.8, 99.9, 99.95, 99.98, 99.99, 99.995, 99.999)  # fmt: skip
"""Percentiles of a curve, as far as at least one value lies above."""

HISTOGRAM_HIGHEST_NS = 3_600_000_000_000
HISTOGRAM_DIGITS = 3


def percentile(ordered: Sequence[int], percent: float) -> int:
    """The value that this share of all values does not exceed (nearest rank). `ordered` ascends and is not empty."""
    rank = math.ceil(len(ordered) * percent / 100 - 1e-9)
    return ordered[max(rank, 1) - 1]


def latency(values: Durations, *, histogram: bool = False) -> Latency | None:
    """A distribution, None where there are no values. `histogram` adds an HdrHistogram where its library is there."""
    if not values:
        return None
    ordered = sorted(values)
    at = functools.partial(percentile, ordered)
    points = [point for point in CURVE if len(ordered) * (100 - point) / 100 >= 1]
    return Latency(
        count=len(ordered),
        min_us=_us(ordered[0]),
        mean_us=_us(statistics.fmean(ordered)),
        p50_us=_us(at(50)),
        p90_us=_us(at(90)),
        p99_us=_us(at(99)),
        p999_us=_us(at(99.9)),
        max_us=_us(ordered[-1]),
        curve=[*((point, _us(at(point))) for point in points), (100.0, _us(ordered[-1]))],
        histogram=_histogram(ordered) if histogram else None,
    )


def _us(nanoseconds: float) -> float:
    return round(nanoseconds / 1000, 3)


def _histogram(values: Sequence[int]) -> str | None:
    try:
        library: Any = importlib.import_module("hdrh.histogram")
    except ImportError:
        return None
    made = library.HdrHistogram(1, HISTOGRAM_HIGHEST_NS, HISTOGRAM_DIGITS)
    for value in values:
        made.record_value(value)
    return made.encode().decode()


def interval_of_median(values: Sequence[float], *, seed: int = 1) -> tuple[float, float]:
    """The 95 % bootstrap interval of the median."""
    draw = random.Random(seed)
    medians = sorted(statistics.median(draw.choices(values, k=len(values))) for _ in range(RESAMPLES))
    outside = int(RESAMPLES * (1 - CONFIDENCE) / 2)
    return medians[outside], medians[-1 - outside]


def compare(
    figure: str,
    subject: str,
    baseline: str,
    setting: Setting,
    pairs: Sequence[tuple[float, float]],
    *,
    is_noise: bool = False,
) -> Comparison | None:
    """The ratio subject / baseline of figures that were measured in turn; None where no pair has both.

    Args:
        figure: the figure's name.
        subject: above the line.
        baseline: below the line.
        setting: what was held fixed.
        pairs: (subject's, baseline's), one for each round; pairs with a 0 are left out.
        is_noise: both are the same subject.
    """
    ratios = [above / below for above, below in pairs if above > 0 and below > 0]
    if not ratios:
        return None
    low, high = interval_of_median(ratios)
    return Comparison(
        figure=figure,
        subject=subject,
        baseline=baseline,
        setting=setting,
        ratio=statistics.median(ratios),
        low=low,
        high=high,
        pairs=len(ratios),
        is_noise=is_noise,
    )


def void_reason(measured: Latency | None, lag: Latency | None) -> str:
    """Why a run with a load generator must not be quoted; "" where it may."""
    if measured is None:
        return "no request succeeded"
    if lag is None or lag.p99_us <= MAX_LAG_SHARE * measured.p99_us:
        return ""
    share = lag.p99_us / measured.p99_us
    return (
        f"the load generator was {lag.p99_us:.0f} µs late (p99), {share:.0%} of the p99; {MAX_LAG_SHARE:.0%} is allowed"
    )


def is_late(measured: Durations, lag: Durations) -> bool:
    """Whether a block of an open loop measured its generator (`MAX_LAG_SHARE`); never of one without a lag."""
    return bool(lag) and p99_us(lag) > MAX_LAG_SHARE * p99_us(measured)


def p50_us(values: Durations) -> float:
    """The median in microseconds, 0 where there are no values."""
    return percentile(sorted(values), 50) / 1000 if values else 0.0


def p99_us(values: Durations) -> float:
    """The 99th percentile in microseconds, 0 where there are no values."""
    return percentile(sorted(values), 99) / 1000 if values else 0.0
