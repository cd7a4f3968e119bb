"""Results as one HTML page that needs nothing else: no script, no network, plots as SVG within it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from html import escape
from string import Template

from maitred.benchmarks.report import svg
from maitred.benchmarks.report.svg import Bar, Series, Tick
from maitred.benchmarks.report.words import (
    failures_text,
    figure_name,
    figure_text,
    named,
    number,
    setting_text,
    value_text,
    varying,
    where,
)
from maitred.benchmarks.results import Comparison, Latency, Measurement, Result

__all__ = ["render"]

PERCENTILES = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999)
"""Marked in the plots of latency by percentile."""

TIMES = ("p50 µs", "p90 µs", "p99 µs", "p99.9 µs", "max µs", "n")
"""Columns of a distribution."""

FEWEST_PLOTTED = 20
"""Values of a distribution that is worth a line; below, its table says all there is."""

AS_LINES = ("part", "tried")
"""Settings whose values share a plot."""

MAX_PLOTS = 12
"""Plots of latency for one scenario; settings beyond are in its table."""

PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>$title</title>
<style>
:root { color-scheme: light dark; --fg: #1d2129; --soft: #667; --back: #fff; --grid: #e3e6ea; --noise: #d8dbe0;
  --s0: #2458c5; --s1: #b8540a; --s2: #0a7f61; --s3: #a8338f; --s4: #7a6a00; --s5: #c2263a; --s6: #5a48b5; --s7: #277a9c; }
@media (prefers-color-scheme: dark) { :root { --fg: #e6e8ec; --soft: #9aa3b0; --back: #14161a; --grid: #2c3038;
  --noise: #3b404a; --s0: #7aa5ff; --s1: #f0954f; --s2: #45c9a2; --s3: #e083cb; --s4: #cdbb45; --s5: #ff7b88;
  --s6: #ab9cf5; --s7: #6cc0e0; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--fg); background: var(--back); max-width: 60rem;
  margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; font-weight: 600; }
h2 { margin-top: 3rem; border-top: 1px solid var(--grid); padding-top: 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { padding: .2rem .7rem .2rem 0; text-align: right; border-bottom: 1px solid var(--grid); vertical-align: top; }
th.name, td.name { text-align: left; } .wide { overflow-x: auto; } .soft, .legend { color: var(--soft); font-size: 13px; }
.void td { text-decoration: line-through; } figure { margin: 1rem 0; } figcaption { font-size: 13px; color: var(--soft); }
svg { width: 100%; height: auto; } svg text { font-size: 11px; fill: var(--fg); } svg .axis { fill: var(--soft); }
.grid { stroke: var(--grid); } .one { stroke: var(--soft); } .noise { fill: var(--noise); }
.interval { stroke: var(--fg); stroke-width: 1.5; } .line { fill: none; stroke-width: 2; }
.dashed { stroke-dasharray: 5 3; }
.legend span { margin-right: 1.2em; white-space: nowrap; } .legend i { display: inline-block; width: 1em; height: .3em;
  margin-right: .4em; vertical-align: middle; }
$hues
</style></head><body>
<h1>$title</h1>
$body
</body></html>
""")


def render(results: Sequence[Result]) -> str:
    """The page."""
    names = list(dict.fromkeys(it.subject for result in results for it in result.measurements))
    hues = {name: number_ for number_, name in enumerate(names)}
    body = "\n".join(part for result in results for part in _scenario(result, hues))
    rules = "\n".join(
        f".line.s{n} {{ stroke: var(--s{n}); }} .bar.s{n}, .dot.s{n} {{ fill: var(--s{n}); }} "
        f"i.s{n} {{ background: var(--s{n}); }}"
        for n in range(svg.HUES)
    )
    return PAGE.substitute(title="maitred bench", body=body, hues=rules)


def _scenario(result: Result, hues: dict[str, int]) -> Iterator[str]:
    yield f"<h2>{escape(result.scenario)}</h2>"
    yield f'<p class="soft">{escape(result.began)}, {result.took_s:g} s. {escape(where(result.environment))}</p>'
    parameters = ", ".join(f"{name} {value}" for name, value in result.parameters.items())
    yield f'<p class="soft">{escape(parameters)}</p>'
    yield from (f"<p>{escape(note)}</p>" for note in result.notes)
    yield from _ratio_charts(result, hues)
    yield from _trend_charts(result, hues)
    yield from _percentile_charts(result, hues)
    yield _table(result.measurements)
    yield _subjects(result)


def _legend(names: Sequence[str], hues: dict[str, int]) -> str:
    marks = (f'<span><i class="{svg.series_class(hues[name])}"></i>{escape(name)}</span>' for name in names)
    return f'<p class="legend">{"".join(marks)}</p>'


def _figure(chart: str, caption: str) -> str:
    return f"<figure>{chart}<figcaption>{escape(caption)}</figcaption></figure>"


def _ratio_charts(result: Result, hues: dict[str, int]) -> Iterator[str]:
    """One chart for each figure and baseline: all subjects, all settings."""
    groups: dict[tuple[str, str], list[Comparison]] = {}
    for it in result.comparisons:
        groups.setdefault((it.figure, it.baseline), []).append(it)
    for (figure, baseline), group in groups.items():
        differing = varying(it.setting for it in group)
        bars = [
            Bar(
                ", ".join(filter(None, (it.subject, setting_text(it.setting, differing)))),
                it.ratio, it.low, it.high, None if it.is_noise else hues.get(it.subject, 0),
            )
            for it in group
        ]  # fmt: skip
        if any(bar.hue is not None for bar in bars):
            text = f"{figure}, ratio to {baseline}: medians of pairs with their 95 % intervals"
            noise = "; the band is the baseline against itself" if any(bar.hue is None for bar in bars) else ""
            yield _figure(svg.ratios(bars, across=f"{figure} / {baseline}"), text + noise)


def _trend_charts(result: Result, hues: dict[str, int]) -> Iterator[str]:
    """Where a number of the setting was gone through: every figure over the first such number."""
    good = [it for it in result.measurements if not it.void]
    differing = varying(it.setting for it in good)
    across = next((name for name in differing if _goes_through(good, name)), None)
    if across is None:
        return
    rest = [name for name in differing if name != across]
    for figure in (*_value_names(good), "p50_us"):
        text = " ".join(filter(None, figure_name(figure)))
        for others, group in _grouped(good, rest):
            series = [
                Series(name, points, hues[name])
                for name in dict.fromkeys(it.subject for it in group)
                if (points := _trend([it for it in group if it.subject == name], across, figure))
            ]
            if series:
                values = sorted({float(it.setting[across]) for it in group})
                ticks = [Tick(math.log10(value), value_text(across, value)) for value in values]
                yield _legend([line.name for line in series], hues)
                caption = f"{text}, by {named(across)}"
                yield _figure(
                    svg.curves(series, ticks, across=named(across), up=text), ", ".join(filter(None, (caption, others)))
                )


def _goes_through(measurements: Sequence[Measurement], name: str) -> bool:
    values = {it.setting.get(name) for it in measurements}
    return len(values) > 2 and all(isinstance(value, int | float) and value > 0 for value in values)


def _trend(measurements: Sequence[Measurement], across: str, figure: str) -> list[tuple[float, float]]:
    points: list[tuple[float, float]] = []
    for it in measurements:
        times = it.latency
        height = it.values.get(figure, 0.0) if figure != "p50_us" else (0.0 if times is None else times.p50_us)
        if height > 0:
            points.append((math.log10(float(it.setting[across])), height))
    return sorted(points)


def _percentile_charts(result: Result, hues: dict[str, int]) -> Iterator[str]:
    good = [it for it in result.measurements if it.latency is not None and not it.void]
    good = [it for it in good if it.latency is not None and it.latency.count >= FEWEST_PLOTTED]
    differing = [name for name in varying(it.setting for it in good) if name not in AS_LINES]
    for text, group in itertools.islice(_grouped(good, differing), MAX_PLOTS):
        named_ = {_line_name(it): it for it in group}
        own = hues if set(named_) <= set(hues) else {name: number_ for number_, name in enumerate(named_)}
        series = [
            Series(name, [(_nines(p), us) for p, us in it.latency.curve if p < 100], own[name])
            for name, it in named_.items()
            if it.latency is not None
        ]
        last = max((x for line in series for x, _ in line.points), default=0.0)
        ticks = [Tick(_nines(p), f"{p:g} %") for p in PERCENTILES if _nines(p) <= last + 0.01]
        if last > 0:
            yield _legend([line.name for line in series], own)
            yield _figure(
                svg.curves(series, ticks, across="percentile", up="µs"),
                ", ".join(filter(None, ("latency by percentile", text))),
            )


def _line_name(measurement: Measurement) -> str:
    """Of a line of a plot: the subject, and what else is a line of its own."""
    return ", ".join(
        [measurement.subject, *(str(measurement.setting[it]) for it in AS_LINES if it in measurement.setting)]
    )


def _nines(percent: float) -> float:
    """Where a percentile stands: 90 at 1, 99 at 2, 99.9 at 3."""
    return -math.log10(1 - percent / 100)


def _grouped(measurements: Sequence[Measurement], names: Sequence[str]) -> Iterator[tuple[str, list[Measurement]]]:
    groups: dict[str, list[Measurement]] = {}
    for it in measurements:
        groups.setdefault(setting_text(it.setting, names) if names else "", []).append(it)
    yield from groups.items()


def _table(measurements: Sequence[Measurement]) -> str:
    differing = varying(it.setting for it in measurements)
    values = _value_names(measurements)
    is_timed = any(it.latency is not None for it in measurements)
    heads = [*(TIMES if is_timed else ()), *(" ".join(filter(None, figure_name(name))) for name in values)]
    names = ["subject", *(["setting"] if differing else [])]
    rows = [
        "<tr>" + "".join(f'<th class="name">{name}</th>' for name in names)
        + "".join(f"<th>{escape(name)}</th>" for name in [*heads, "failed"]) + "</tr>"
    ]  # fmt: skip
    for it in measurements:
        cells = [it.subject, *([setting_text(it.setting, differing)] if differing else [])]
        shown = _times(it.latency) if is_timed else []
        shown += [figure_text(name, it.values[name]) if name in it.values else "-" for name in values]
        rows.append(
            f'<tr{" class=void" if it.void else ""} title="{escape(it.void)}">'
            + "".join(f'<td class="name">{escape(cell)}</td>' for cell in cells)
            + "".join(f"<td>{escape(cell)}</td>" for cell in [*shown, failures_text(it)]) + "</tr>"
        )  # fmt: skip
    return f'<div class="wide"><table>{"".join(rows)}</table></div>'


def _value_names(measurements: Sequence[Measurement]) -> list[str]:
    return list(dict.fromkeys(name for it in measurements for name in it.values))


def _times(times: Latency | None) -> list[str]:
    if times is None:
        return ["-"] * len(TIMES)
    return [*map(number, (times.p50_us, times.p90_us, times.p99_us, times.p999_us, times.max_us)), f"{times.count:,}"]


def _subjects(result: Result) -> str:
    lines = [
        f"<li><b>{escape(name)}</b>: {escape(note.description)} "
        f"({escape(', '.join(f'{part} {version}' for part, version in note.versions.items()))})</li>"
        for name, note in result.subjects.items()
    ]
    lines += (f"<li><b>{escape(it.subject)}</b>: skipped, {escape(it.reason)}</li>" for it in result.skipped)
    voids = (f"<li>void: {escape(it.subject)}: {escape(it.void)}</li>" for it in result.measurements if it.void)
    return f'<ul class="soft">{"".join([*lines, *voids])}</ul>'
