"""Charts as SVG text: curves on logarithmic scales, and ratios with their intervals. Knows no results, only numbers.

Colours are classes (`s0` … `s7`), which the page sets for light and dark. From the ninth series on the hues repeat, dashed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

from msgspec import Struct

from maitred.benchmarks.report.words import number

__all__ = ["Bar", "Series", "Tick", "curves", "ratios", "series_class"]

WIDTH, HEIGHT = 760, 340
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 12, 40
HUES = 8
ROW = 26
TIMES = "&#8239;&#215;"
"""What follows a ratio: a narrow space and the sign for "times"."""
LABELS = 300
"""Pixels for the names beside the bars."""


class Series(Struct, frozen=True):
    """A line: its name, its points in the chart's units, and which hue."""

    name: str
    points: list[tuple[float, float]]
    hue: int


class Tick(Struct, frozen=True):
    """A mark of the horizontal axis: where, and what it says."""

    at: float
    text: str


class Bar(Struct, frozen=True):
    """A ratio with its interval; `hue` None is the noise floor."""

    name: str
    ratio: float
    low: float
    high: float
    hue: int | None


def series_class(hue: int) -> str:
    """The classes of a series."""
    return f"s{hue % HUES}" + (" dashed" if hue >= HUES else "")


def curves(series: Sequence[Series], ticks: Sequence[Tick], *, across: str, up: str) -> str:
    """Lines over a horizontal axis with these ticks and a logarithmic vertical one.

    Args:
        series: at least one with a point; heights are above 0.
        ticks: of the horizontal axis, in the units of the points.
        across: what the horizontal axis is.
        up: what the vertical one is, with its unit.
    """
    heights = [y for line in series for _, y in line.points]
    edges = [x for line in series for x, _ in line.points] + [tick.at for tick in ticks]
    x_scale = _Scale(min(edges), max(edges), LEFT, WIDTH - RIGHT)
    low, high = _decades(min(heights), max(heights))
    y_scale = _Scale(math.log10(low), math.log10(high), HEIGHT - BOTTOM, TOP)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(up)} by {escape(across)}">']
    for value in _log_ticks(low, high):
        y = y_scale(math.log10(value))
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:,g}</text>')
    for tick in ticks:
        x = x_scale(tick.at)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{escape(tick.text)}</text>')
    parts.append(f'<text class="axis" x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">{escape(across)}</text>')
    parts.append(f'<text class="axis" x="{LEFT}" y="{HEIGHT - 6}">{escape(up)}</text>')
    for line in series:
        path = " ".join(f"{x_scale(x):.1f},{y_scale(math.log10(y)):.1f}" for x, y in line.points)
        parts.append(
            f'<polyline class="line {series_class(line.hue)}" points="{path}"><title>{escape(line.name)}</title></polyline>'
        )
        parts += (
            f'<circle class="dot {series_class(line.hue)}" cx="{x_scale(x):.1f}" cy="{y_scale(math.log10(y)):.1f}" r="2.5">'
            f"<title>{escape(line.name)}: {number(y)}</title></circle>"
            for x, y in line.points
        )
    return "\n".join([*parts, "</svg>"])


def ratios(bars: Sequence[Bar], *, across: str) -> str:
    """Ratios on a logarithmic axis around 1, with intervals; the noise floor as a band behind them.

    Args:
        bars: at least one.
        across: what the ratios are.
    """
    low = min(0.5, *(bar.low for bar in bars)) / 1.05
    high = max(2.0, *(bar.high for bar in bars)) * 1.05
    scale = _Scale(math.log10(low), math.log10(high), LABELS, WIDTH - 70)
    rows = [bar for bar in bars if bar.hue is not None]
    height = TOP + ROW * len(rows) + BOTTOM
    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(across)}">']
    for bar in bars:
        if bar.hue is None:
            x, end = scale(math.log10(bar.low)), scale(math.log10(bar.high))
            parts.append(
                f'<rect class="noise" x="{x:.1f}" width="{max(1.0, end - x):.1f}" y="{TOP}" '
                f'height="{height - TOP - BOTTOM}"><title>{escape(bar.name)}</title></rect>'
            )
    for value in _ratio_ticks(low, high):
        x = scale(math.log10(value))
        kind = "one" if value == 1 else "grid"
        parts.append(f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{height - BOTTOM}"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - BOTTOM + 15}" text-anchor="middle">{value:g}{TIMES}</text>')
    for row, bar in enumerate(rows):
        parts += _bar(bar, TOP + ROW * row + ROW / 2, scale)
    parts.append(f'<text class="axis" x="{WIDTH - 16}" y="{height - 6}" text-anchor="end">{escape(across)}</text>')
    return "\n".join([*parts, "</svg>"])


def _bar(bar: Bar, y: float, scale: _Scale) -> Iterator[str]:
    assert bar.hue is not None
    one, at = scale(0.0), scale(math.log10(bar.ratio))
    low, high = scale(math.log10(bar.low)), scale(math.log10(bar.high))
    yield f'<text x="{LABELS - 10}" y="{y + 4:.1f}" text-anchor="end">{escape(bar.name)}</text>'
    yield (
        f'<rect class="bar {series_class(bar.hue)}" x="{min(one, at):.1f}" width="{max(1.0, abs(at - one)):.1f}" '
        f'y="{y - 7:.1f}" height="14"><title>{bar.ratio:.2f} ({bar.low:.2f} … {bar.high:.2f})</title></rect>'
    )
    yield f'<line class="interval" x1="{low:.1f}" x2="{high:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
    yield f'<text class="figure" x="{max(high, at, one) + 8:.1f}" y="{y + 4:.1f}">{bar.ratio:.2f}{TIMES}</text>'


class _Scale:
    """From values to pixels, linear."""

    def __init__(self, low: float, high: float, begin: float, end: float) -> None:
        self._low, self._span = low, (high - low) or 1.0
        self._begin, self._length = begin, end - begin

    def __call__(self, value: float) -> float:
        return self._begin + (value - self._low) / self._span * self._length


def _decades(low: float, high: float) -> tuple[float, float]:
    """Round limits outwards to 1, 2 or 5 times a power of ten."""
    return max(v for v in _steps(low) if v <= low), min(v for v in _steps(high) if v >= high * 1.0000001)


def _steps(about: float) -> list[float]:
    exponent = math.floor(math.log10(about))
    return [factor * 10.0**power for power in range(exponent - 1, exponent + 2) for factor in (1, 2, 5)]


def _log_ticks(low: float, high: float) -> Iterator[float]:
    factors = (1, 2, 5) if high / low <= 1000 else (1,)
    for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        for factor in factors:
            value = factor * 10.0**power
            if low * 0.999 <= value <= high * 1.001:
                yield value


def _ratio_ticks(low: float, high: float) -> Iterator[float]:
    if high / low <= 32:
        return (2.0**power for power in range(math.ceil(math.log2(low)), math.floor(math.log2(high)) + 1))
    return (10.0**power for power in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1))
