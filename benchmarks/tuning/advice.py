"""What the ratios of a sweep say, and the configuration that follows. No measuring here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from maitred.benchmarks.report.words import judged, noise_of
from maitred.benchmarks.results import Comparison
from maitred.benchmarks.tuning.knobs import Knob

__all__ = ["MIN_GAIN", "Trial", "Verdict", "best_of_each", "outcome", "recommended", "score", "toml_text"]

MIN_GAIN = 0.03
"""A ratio nearer to 1 is left alone, whatever its interval: nobody notices it, and one candidate in some dozens gets so
far by chance."""

Verdict: TypeAlias = Literal["gain", "loss", "mixed", "none"]
"""Better in a figure and worse in none; the opposite; both; neither."""

IPC = "connect with Client() or by the ipc:// endpoint; callers of other hosts cannot"
TCP = "connect by the tcp:// endpoint"


class Trial(Struct, frozen=True):
    """One value of one setting, against what is in force.

    Attributes:
        knob: the setting.
        value: what was tried, resolved.
        comparisons: its ratios, one for each figure.
        verdict: what they say.
    """

    knob: Knob
    value: Any
    comparisons: list[Comparison]
    verdict: Verdict


def outcome(comparisons: Iterable[Comparison], among: Sequence[Comparison]) -> Verdict:
    """What the ratios of one candidate say; `among` has their noise floors."""
    found = {_judged(comparison, among) for comparison in comparisons}
    if {"better", "worse"} <= found:
        return "mixed"
    return "gain" if "better" in found else "loss" if "worse" in found else "none"


def _judged(comparison: Comparison, among: Sequence[Comparison]) -> str:
    if abs(comparison.ratio - 1) < MIN_GAIN:
        return "same"
    return judged(comparison, noise_of(comparison, among))


def score(comparisons: Iterable[Comparison]) -> float:
    """How much better, in all figures together: 1 is no better."""
    product = 1.0
    for comparison in comparisons:
        product *= comparison.ratio if comparison.figure == "throughput" else 1 / comparison.ratio
    return product


def best_of_each(trials: Iterable[Trial]) -> list[Trial]:
    """Of each setting with a gain, the value with the largest; the largest first."""
    best: dict[str, Trial] = {}
    for trial in trials:
        before = best.get(trial.knob.name)
        if trial.verdict == "gain" and (before is None or score(trial.comparisons) > score(before.comparisons)):
            best[trial.knob.name] = trial
    return sorted(best.values(), key=lambda trial: -score(trial.comparisons))


def recommended(trials: Iterable[Trial], pool: str) -> dict[str, dict[str, Any]]:
    """What to change, as written in a configuration, by table; "caller" is for the programs that call."""
    tables = {"broker": "broker", "pool": f"pools.{pool}", "caller": "caller"}
    found: dict[str, dict[str, Any]] = {}
    for trial in sorted(trials, key=lambda trial: trial.knob.place):
        key = trial.knob.key
        value = trial.value if key is None else key.kind.write(trial.value)
        found.setdefault(tables[trial.knob.place], {})[trial.knob.field if key is None else key.name] = value
        if trial.knob.field == "out_of_band_bytes":
            found.setdefault("caller", {})["out_of_band_bytes"] = trial.value
    return found


def gain_text(comparison: Comparison) -> str:
    """One ratio in words: "p50 -8 % (-11 … -5)"."""
    percents = [f"{(ratio - 1) * 100:+.0f}" for ratio in (comparison.ratio, comparison.low, comparison.high)]
    return f"{comparison.figure} {percents[0]} % ({percents[1]} … {percents[2]})"


def toml_text(trials: Sequence[Trial], pool: str) -> str:
    """What to write into the configuration, each line with what it brought; "" where there is nothing."""
    lines: list[str] = []
    for place, table in (("broker", "[broker]"), ("pool", f"[pools.{pool}]")):
        here = [trial for trial in trials if trial.knob.place == place]
        if here:
            lines += ["", table, *map(_line, here)]
    return "\n".join(lines[1:])


def _line(trial: Trial) -> str:
    assert trial.knob.key is not None
    gains = ", ".join(map(gain_text, trial.comparisons))
    return f"{trial.knob.key.name} = {trial.knob.text(trial.value)}  # {gains}"


def caller_lines(trials: Iterable[Trial]) -> list[str]:
    """What the programs that call have to do, a sentence each."""
    found: list[str] = []
    for trial in trials:
        if trial.knob.field == "transport":
            found.append(f"{IPC if trial.value == 'ipc' else TCP}: {', '.join(map(gain_text, trial.comparisons))}")
        elif trial.knob.field == "out_of_band_bytes":
            found.append(f"at their start: maitred.protocol.body.set_out_of_band({trial.value})")
    return found
