"""What a sweep found, in a terminal: a line for each candidate, and what to write where."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from maitred.benchmarks.report.words import noise_of, where
from maitred.benchmarks.results import Comparison
from maitred.benchmarks.tuning.advice import MIN_GAIN, Trial, caller_lines, gain_text, toml_text
from maitred.benchmarks.tuning.sweep import Found
from maitred.benchmarks.tuning.target import Target

__all__ = ["print_found"]

WORDS = {"gain": "gain", "loss": "loss", "mixed": "better here, worse there", "none": "no difference beyond the noise"}
COLOURS = {"gain": "green", "loss": "yellow", "mixed": "yellow", "none": "dim"}


def print_found(console: Console, found: Found, target: Target) -> None:
    """All of it."""
    result = found.result
    console.print(
        f"\n[bold]tune[/bold]  {escape(result.subjects['maitred'].description)}  [dim]{result.took_s:g} s[/dim]"
    )
    console.print(_table(found, target))
    for note in result.notes:
        console.print(f"[dim]{escape(note)}[/dim]")
    console.print(f"[dim]{escape(where(result.environment))}[/dim]\n")
    if not found.accepted:
        console.print(_nothing(found.trials))
        return
    file = toml_text(found.accepted, target.pool)
    if file:
        console.print(escape(file), soft_wrap=True)
    for line in caller_lines(found.accepted):
        console.print(f"callers: {escape(line)}", soft_wrap=True)
    gains = ", ".join(map(gain_text, found.together))
    console.print(f"\nmeasured again{', all together' if len(found.accepted) > 1 else ''}: {gains}")
    console.print("Everything else is left as it is.")


def _table(found: Found, target: Target) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("SETTING", "AS IT IS", "TRIED"):
        table.add_column(name)
    for name in ("P50", "ITS NOISE", "THROUGHPUT", "ITS NOISE"):
        table.add_column(name, justify="right")
    table.add_column("")
    for trial in found.trials:
        knob = trial.knob
        cells = (knob.name, knob.text(target.in_force.value(knob)), knob.text(trial.value))
        colour = COLOURS[trial.verdict]
        table.add_row(*map(escape, cells), *_ratios(trial, found), WORDS[trial.verdict], style=colour)
    return table


def _ratios(trial: Trial, found: Found) -> list[str]:
    cells: list[str] = []
    for figure in ("p50", "throughput"):
        ratio = next((it for it in trial.comparisons if it.figure == figure), None)
        noise = None if ratio is None else noise_of(ratio, found.result.comparisons)
        cells += [_ratio(ratio), _interval(noise)]
    return cells


def _ratio(comparison: Comparison | None) -> str:
    return "-" if comparison is None else f"{comparison.ratio:.2f} ({_interval(comparison)})"


def _interval(comparison: Comparison | None) -> str:
    return "-" if comparison is None else f"{comparison.low:.2f} … {comparison.high:.2f}"


def _nothing(trials: list[Trial]) -> str:
    if any(trial.verdict == "gain" for trial in trials):
        return "What looked like a gain was none when it was measured again: leave everything as it is."
    return f"Nothing brings more than the noise, and {MIN_GAIN:.0%}: leave everything as it is."
