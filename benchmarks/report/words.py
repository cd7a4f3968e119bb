"""What tables and pages share: which settings differ, how figures are written, and what a ratio means beside its noise."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

from maitred.benchmarks.results import Comparison, Environment, Measurement, Setting

__all__ = [
    "Verdict",
    "failures_text",
    "figure_name",
    "figure_text",
    "judged",
    "more_is_better",
    "named",
    "noise_of",
    "number",
    "setting_text",
    "size",
    "value_text",
    "varying",
    "verdict",
    "verdict_text",
    "where",
]

Verdict: TypeAlias = Literal["more", "less", "same"]
"""Of a ratio beside 1: above it, below it, or no difference beyond the noise."""

MORE_IS_BETTER = ("throughput", "goodput", "part rate")
"""Figures of which more is better; of all others (times, bytes) less is."""


def varying(settings: Iterable[Setting]) -> list[str]:
    """The names whose values are not the same in all settings, in the order in which they are written."""
    seen: dict[str, set[str | int | float | None]] = {}
    listed = list(settings)
    for name in dict.fromkeys(name for setting in listed for name in setting):
        seen[name] = {setting.get(name) for setting in listed}
    return [name for name, values in seen.items() if len(values) > 1]


def setting_text(setting: Setting, names: Sequence[str] | None = None) -> str:
    """A setting in words, or what is said of it by some of its names."""
    said = setting if names is None else names
    return ", ".join(f"{named(name)} {value_text(name, setting[name])}" for name in said if name in setting)


def named(name: str) -> str:
    """The name of a setting in words, without its unit."""
    for unit in ("_bytes", "_per_s", "_s"):
        if name.endswith(unit):
            return name.removesuffix(unit).replace("_", " ")
    return name.replace("_", " ")


def value_text(name: str, value: str | float) -> str:
    """The value of a setting, with its unit."""
    if isinstance(value, str):
        return value
    if name.endswith("_bytes"):
        return size(value)
    if name.endswith("_per_s"):
        return f"{value:,g}/s"
    return f"{value * 1e3:g} ms" if name.endswith("_s") else f"{value:g}"


def size(count: float) -> str:
    """Bytes, a difference of them too."""
    for unit in ("B", "KiB", "MiB"):
        if abs(count) < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:.4g} GiB"


UNITS = {"_bytes_per_s": "", "_per_s": "1/s", "_us": "µs", "_ms": "ms", "_s": "s", "_bytes": "", "_share": ""}
"""The endings of figures' names and what is said instead; sizes and shares carry their unit with each value."""


def figure_name(name: str) -> tuple[str, str]:
    """The name of a figure in words, and its unit: "" where there is none, or each value carries it."""
    ending = next((ending for ending in UNITS if name.endswith(ending)), "")
    return name.removesuffix(ending).replace("_", " "), UNITS.get(ending, "")


def figure_text(name: str, value: float) -> str:
    """A figure as written below its name."""
    if name.endswith(("_bytes", "_bytes_per_s")):
        return size(value) + ("/s" if name.endswith("_per_s") else "")
    return f"{value:.1%}" if name.endswith("_share") else number(value)


def number(value: float) -> str:
    """Three digits that count, all of a whole number, thousands apart."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if value == int(value):
        return f"{value:,.0f}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def noise_of(comparison: Comparison, among: Iterable[Comparison]) -> Comparison | None:
    """The A/A pair that belongs to a comparison: same figure, setting and baseline."""
    for other in among:
        if (
            other.is_noise
            and other.figure == comparison.figure
            and other.setting == comparison.setting
            and other.baseline == comparison.baseline
        ):
            return other
    return None


def verdict(comparison: Comparison, noise: Comparison | None) -> Verdict:
    """What a ratio says: only where its interval lies apart from 1 and from all that the noise makes of nothing."""
    low = min(1.0, noise.low) if noise is not None else 1.0
    high = max(1.0, noise.high) if noise is not None else 1.0
    if comparison.low > high:
        return "more"
    return "less" if comparison.high < low else "same"


def more_is_better(figure: str) -> bool:
    """Whether a figure is one of which more is better."""
    return figure.startswith(MORE_IS_BETTER)


def judged(comparison: Comparison, noise: Comparison | None) -> Literal["better", "worse", "same"]:
    """What a ratio means for the subject above the line."""
    found = verdict(comparison, noise)
    if found == "same":
        return "same"
    return "better" if (found == "more") == more_is_better(comparison.figure) else "worse"


def verdict_text(comparison: Comparison, noise: Comparison | None) -> str:
    """The same in words."""
    if comparison.is_noise:
        return "noise floor"
    kind = verdict(comparison, noise)
    if kind == "same":
        return "no difference beyond the noise" if noise is not None else "no difference beyond the interval"
    return judged(comparison, noise)


def where(environment: Environment) -> str:
    """An environment in a line."""
    commit = "" if environment.commit is None else f" ({environment.commit[:10]}{'+' if environment.changed else ''})"
    libraries = ", ".join(f"{name} {version}" for name, version in environment.libraries.items())
    governor = "" if environment.governor is None else f", governor {environment.governor}"
    return (
        f"maitred {environment.maitred}{commit}, {environment.python}, {libraries}; {environment.system} "
        f"{environment.kernel}, {environment.processor}, {environment.cores} cores, "
        f"{size(environment.memory_bytes)}{governor}, load {environment.load_average:g}"
    )


def failures_text(measurement: Measurement) -> str:
    """How many requests failed, by the error's name."""
    return ", ".join(f"{count:,} {name}" for name, count in measurement.failures.items())
