"""The statistics, by their properties: exact percentiles, intervals that hold the median, verdicts beside their noise."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maitred.benchmarks.method.recorder import durations, merged
from maitred.benchmarks.method.statistics import compare, interval_of_median, latency, percentile, void_reason
from maitred.benchmarks.report.words import judged, noise_of, verdict
from maitred.benchmarks.results import Comparison

NANOSECONDS = st.integers(0, 10**12)
RATIOS = st.lists(st.floats(0.01, 100.0), min_size=1, max_size=30)


@given(st.lists(NANOSECONDS, min_size=1, max_size=300), st.floats(0.0, 100.0))
def test_a_percentile_is_a_value_that_so_many_do_not_exceed(values: list[int], percent: float) -> None:
    ordered = sorted(values)
    found = percentile(ordered, percent)
    assert found in ordered
    assert sum(value <= found for value in ordered) >= len(ordered) * percent / 100 - 1e-6
    assert sum(value < found for value in ordered) <= max(0.0, len(ordered) * percent / 100)


@given(st.lists(NANOSECONDS, min_size=1, max_size=300))
def test_a_distribution_is_in_order(values: list[int]) -> None:
    found = latency(durations(values))
    assert found is not None
    marks = [found.min_us, found.p50_us, found.p90_us, found.p99_us, found.p999_us, found.max_us]
    assert marks == sorted(marks)
    assert found.count == len(values)
    assert [percent for percent, _ in found.curve] == sorted({percent for percent, _ in found.curve})
    assert [us for _, us in found.curve] == sorted(us for _, us in found.curve)
    assert found.curve[-1] == (100.0, found.max_us)


def test_no_values_are_no_distribution() -> None:
    assert latency(durations()) is None


def test_what_is_recorded_in_blocks_is_one_whole() -> None:
    assert list(merged([durations([3, 1]), durations(), durations([2])])) == [3, 1, 2]


def test_a_histogram_holds_the_same_values() -> None:
    histogram = pytest.importorskip("hdrh.histogram")
    found = latency(durations(range(1000, 101_000, 1000)), histogram=True)
    assert found is not None
    assert found.histogram is not None
    read = histogram.HdrHistogram.decode(found.histogram.encode())
    assert read.get_total_count() == 100
    assert read.get_value_at_percentile(50) == pytest.approx(50_000, rel=0.001)


@settings(max_examples=20, deadline=None)
@given(RATIOS)
def test_an_interval_lies_within_the_values_and_is_the_same_again(values: list[float]) -> None:
    low, high = interval_of_median(values)
    assert min(values) <= low <= high <= max(values)
    assert (low, high) == interval_of_median(values)
    assert low <= statistics.median(values) <= high or len(set(values)) > 1


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.floats(1.0, 100.0), st.floats(1.0, 100.0)), min_size=1, max_size=20))
def test_a_comparison_turned_round_is_the_inverse(pairs: list[tuple[float, float]]) -> None:
    there = compare("p50", "a", "b", {}, pairs)
    back = compare("p50", "b", "a", {}, [(below, above) for above, below in pairs])
    assert there is not None
    assert back is not None
    if len(pairs) % 2:  # the median of an even number is a mean, whose inverse is another
        assert there.ratio == pytest.approx(1 / back.ratio)


def test_pairs_without_a_figure_are_left_out() -> None:
    found = compare("p50", "a", "b", {}, [(2.0, 1.0), (0.0, 1.0), (1.0, 0.0), (2.0, 1.0)])
    assert found is not None
    assert (found.ratio, found.pairs) == (2.0, 2)
    assert compare("p50", "a", "b", {}, [(0.0, 1.0)]) is None


def comparison(low: float, ratio: float, high: float, *, figure: str = "p50", is_noise: bool = False) -> Comparison:
    subject = "base" if is_noise else "it"
    return Comparison(
        figure=figure, subject=subject, baseline="base", setting={"n": 1}, ratio=ratio, low=low, high=high, pairs=9,
        is_noise=is_noise,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("found", "noise", "expected"),
    [
        (comparison(1.1, 1.2, 1.3), comparison(0.95, 1.0, 1.05, is_noise=True), "more"),
        (comparison(1.1, 1.2, 1.3), comparison(0.95, 1.0, 1.15, is_noise=True), "same"),
        (comparison(0.7, 0.8, 0.9), comparison(0.95, 1.0, 1.05, is_noise=True), "less"),
        (comparison(0.9, 1.2, 1.3), None, "same"),
        (comparison(1.01, 1.2, 1.3), comparison(0.8, 0.9, 0.95, is_noise=True), "more"),
    ],
)
def test_a_difference_is_one_only_beyond_its_interval_and_the_noise(
    found: Comparison, noise: Comparison | None, expected: str
) -> None:
    assert verdict(found, noise) == expected


def test_more_is_better_of_throughput_and_worse_of_time() -> None:
    noise = comparison(0.99, 1.0, 1.01, is_noise=True)
    assert judged(comparison(1.1, 1.2, 1.3), noise) == "worse"
    assert judged(comparison(1.1, 1.2, 1.3, figure="throughput"), noise) == "better"


def test_the_noise_of_a_comparison_is_of_the_same_figure_and_setting() -> None:
    noise = comparison(0.9, 1.0, 1.1, is_noise=True)
    assert noise_of(comparison(1.1, 1.2, 1.3), [comparison(1.0, 1.0, 1.0), noise]) is noise
    assert noise_of(comparison(1.1, 1.2, 1.3, figure="p99"), [noise]) is None


def test_a_generator_that_was_late_voids_its_run() -> None:
    measured, on_time, late = (latency(durations([ns] * 100)) for ns in (1_000_000, 100_000, 101_000))
    assert void_reason(measured, None) == ""
    assert void_reason(measured, on_time) == ""
    assert "10%" in void_reason(measured, late)
    assert void_reason(None, None) == "no request succeeded"
