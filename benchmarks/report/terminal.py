"""Results, lists and changes as tables in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from maitred.benchmarks.report.compare import Change, Changes
from maitred.benchmarks.report.words import (
    failures_text,
    figure_name,
    figure_text,
    judged,
    more_is_better,
    noise_of,
    number,
    setting_text,
    varying,
    verdict_text,
    where,
)
from maitred.benchmarks.results import Comparison, Latency, Measurement, Result
from maitred.benchmarks.scenarios.registry import DEFAULT_OURS, Scenario
from maitred.benchmarks.subjects.protocol import Subject

__all__ = ["print_changes", "print_lists", "print_result"]

TIMES = ("P50 µs", "P90 µs", "P99 µs", "MAX µs", "N")
"""Columns of a distribution."""

FIGURES_BESIDE_TIMES = 7
FIGURES = 14
"""Columns of further figures in a table: beside those, and where there are none."""

COLOURS = {"better": "green", "worse": "yellow", "same": "dim"}


def print_result(console: Console, result: Result) -> None:
    """One scenario's result."""
    fixed = (
        [name for name in _settings(result)[0] if name not in varying(_settings(result))] if _settings(result) else []
    )
    head = setting_text(_settings(result)[0], fixed) if fixed else ""
    console.print(f"\n[bold]{escape(result.scenario)}[/bold]  {escape(head)}  [dim]{result.took_s:g} s[/dim]")
    if result.measurements:
        for table in _figures(result.measurements):
            console.print(table)
    if result.comparisons:
        console.print(_ratios(result.comparisons))
    for measurement in result.measurements:
        if measurement.void:
            where_ = setting_text(measurement.setting, varying(_settings(result)))
            who = ", ".join(filter(None, (measurement.subject, where_)))
            console.print(f"[red]void[/red]: {escape(who)}: {escape(measurement.void)}")
    for skipped in result.skipped:
        console.print(f"[dim]skipped {escape(skipped.subject)}: {escape(skipped.reason)}[/dim]")
    for note in result.notes:
        console.print(escape(note))
    console.print(f"[dim]{escape(where(result.environment))}[/dim]")


def _settings(result: Result) -> list[dict[str, str | int | float]]:
    return [measurement.setting for measurement in result.measurements]


def _table(*columns: str, left: int = 1) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number_, name in enumerate(columns):
        table.add_column(name, justify="left" if number_ < left else "right", overflow="fold", no_wrap=name == "FAILED")
    return table


def _figures(measurements: Sequence[Measurement]) -> Iterator[Table]:
    """One table, or some where there are more figures than a line has room for."""
    differing = varying(measurement.setting for measurement in measurements)
    values = list(dict.fromkeys(name for measurement in measurements for name in measurement.values))
    is_timed = any(measurement.latency is not None for measurement in measurements)
    first = FIGURES_BESIDE_TIMES if is_timed else FIGURES
    yield _figures_table(measurements, differing, values[:first], is_timed=is_timed, is_first=True)
    for at in range(first, len(values), FIGURES):
        some = values[at : at + FIGURES]
        having = [it for it in measurements if any(name in it.values for name in some)]
        yield _figures_table(having, differing, some, is_timed=False, is_first=False)


def _figures_table(
    measurements: Sequence[Measurement],
    differing: Sequence[str],
    values: Sequence[str],
    *,
    is_timed: bool,
    is_first: bool,
) -> Table:
    table = _table(
        *(["", "SETTING"] if differing else [""]), *(TIMES if is_timed else ()), *map(_head, values),
        *(["FAILED"] if is_first else []), left=2 if differing else 1,
    )  # fmt: skip
    for it in measurements:
        table.add_row(
            escape(it.subject),
            *([escape(setting_text(it.setting, differing))] if differing else []),
            *(_times(it.latency) if is_timed else ()),
            *(figure_text(name, it.values[name]) if name in it.values else "-" for name in values),
            *([escape(failures_text(it))] if is_first else []),
            style="strike" if it.void else None,
        )
    return table


def _head(name: str) -> str:
    words, unit = figure_name(name)
    return f"{words.upper()} {unit}".strip()


def _times(times: Latency | None) -> list[str]:
    if times is None:
        return ["-"] * len(TIMES)
    return [*map(number, (times.p50_us, times.p90_us, times.p99_us, times.max_us)), f"{times.count:,}"]


def _ratios(comparisons: Sequence[Comparison]) -> Table:
    differing = varying(comparison.setting for comparison in comparisons)
    columns = ["RATIO OF", *(["SETTING"] if differing else [])]
    table = _table(*columns, "MEDIAN", "95 % INTERVAL", "PAIRS", "", left=len(columns))
    for it in comparisons:
        noise = noise_of(it, comparisons)
        colour = "dim" if it.is_noise else COLOURS[judged(it, noise)]
        table.add_row(
            escape(f"{it.figure}: {it.subject} / {'itself' if it.is_noise else it.baseline}"),
            *([escape(setting_text(it.setting, differing))] if differing else []),
            f"{it.ratio:.2f}",
            f"{it.low:.2f} … {it.high:.2f}",
            str(it.pairs),
            verdict_text(it, noise),
            style=colour,
        )
    return table


def print_lists(console: Console, scenarios: Sequence[Scenario], subjects: Sequence[Subject]) -> None:
    """The scenarios and their parameters; the subjects, and why one would be skipped."""
    table = _table("SCENARIO", "QUESTION AND PARAMETERS", left=2)
    for scenario in scenarios:
        defaults = msgspec.to_builtins(scenario.parameters())
        shown = ", ".join(f"{name}={_plain(value)}" for name, value in defaults.items() if not isinstance(value, dict))
        shown += f"; of {scenario.ours}" if scenario.ours != DEFAULT_OURS else ""
        table.add_row(scenario.name, f"{escape(scenario.question)}\n[dim]{escape(shown)}[/dim]")
    console.print(table)
    table = _table("SUBJECT", "WHAT IT IS", left=2)
    for subject in subjects:
        reason = subject.skip_reason()
        table.add_row(
            subject.name,
            escape(subject.description) + ("" if reason is None else f"\n[yellow]skipped: {escape(reason)}[/yellow]"),
        )
    console.print()
    console.print(table)


def _plain(value: object) -> str:
    return ",".join(str(each) for each in value) if isinstance(value, list | tuple) else str(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def print_changes(console: Console, changes: Changes) -> None:
    """Two runs side by side."""
    for warning in changes.warnings:
        console.print(f"[yellow]not the same environment[/yellow]: {escape(warning)}")
    for text, names in (("only in A", changes.only_before), ("only in B", changes.only_after)):
        if names:
            console.print(f"{text}: {escape(', '.join(names))}")
    table = _table("SCENARIO", "SUBJECT", "SETTING", "FIGURE", "A", "B", "B / A", "", left=4)
    for it in changes.changes:
        table.add_row(
            escape(it.scenario), escape(it.subject), escape(setting_text(it.setting)), escape(it.figure),
            number(it.before), number(it.after), f"{it.after / it.before:.2f}" if it.before else "-", _judgement(it),
        )  # fmt: skip
    console.print(table)


def _judgement(change: Change) -> str:
    if not change.judged:
        return "[dim]not judged: a time of two runs[/dim]"
    if not change.is_beyond:
        return "[dim]the intervals overlap[/dim]"
    more = change.after > change.before
    colour = "green" if more == more_is_better(change.figure) else "yellow"
    return f"[{colour}]{'more' if more else 'less'}[/{colour}]"
