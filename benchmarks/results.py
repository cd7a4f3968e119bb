"""What a run found, as data: one JSON file a run, with a version of its schema. Knows nothing of how it was measured.

Durations are in microseconds (`_us`), sizes in bytes, shares as fractions. A field that is added has a default, so that
older files stay readable; a field that changes its meaning raises `SCHEMA`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct, field

__all__ = [
    "SCHEMA",
    "Comparison",
    "Environment",
    "Latency",
    "Measurement",
    "Result",
    "ResultError",
    "Setting",
    "Skipped",
    "SubjectNote",
    "encode",
    "read",
    "write",
]

SCHEMA = 1

Setting: TypeAlias = dict[str, str | int | float]
"""What was held fixed while something was measured: transport, payload_bytes, workers, outstanding, task_s, …"""


class Latency(Struct, frozen=True, kw_only=True):
    """A distribution of durations; every figure is exact, from the raw values.

    Attributes:
        count: how many.
        curve: (percentile from 0 to 100, microseconds), ascending, as far as so many values support it.
        histogram: the same as an HdrHistogram in its standard text form, highest 1 h, three digits, nanoseconds; None
            where the library `hdrhistogram` is not installed.
    """

    count: int
    min_us: float
    mean_us: float
    p50_us: float
    p90_us: float
    p99_us: float
    p999_us: float
    max_us: float
    curve: list[tuple[float, float]]
    histogram: str | None = None


class Measurement(Struct, frozen=True, kw_only=True):
    """One subject in one setting.

    Attributes:
        subject: its name.
        setting: what was held fixed.
        latency: of what succeeded, None where no durations were taken.
        lag: how late the load generator itself was, None where nothing was due at a time.
        values: further figures by name; the name ends in the unit (`per_s`, `_bytes`, `_us`, …).
        failures: how many requests ended in an error, by its name.
        void: why this must not be quoted; "" where it may.
    """

    subject: str
    setting: Setting
    latency: Latency | None = None
    lag: Latency | None = None
    values: dict[str, float] = field(default_factory=dict[str, float])
    failures: dict[str, int] = field(default_factory=dict[str, int])
    void: str = ""


class Comparison(Struct, frozen=True, kw_only=True):
    """The ratio of two subjects' figures, from blocks that took turns in one run.

    Attributes:
        figure: what is compared: "p50", "p99", "throughput", …
        subject: above the line.
        baseline: below the line.
        setting: what was held fixed.
        ratio: the median of the pairs' ratios.
        low, high: its 95 % bootstrap interval.
        pairs: how many pairs there were.
        is_noise: both are the same subject: what the machine alone makes of nothing (an A/A pair).
    """

    figure: str
    subject: str
    baseline: str
    setting: Setting
    ratio: float
    low: float
    high: float
    pairs: int
    is_noise: bool = False


class Skipped(Struct, frozen=True):
    """A subject that was asked for and not measured, and why."""

    subject: str
    reason: str


class SubjectNote(Struct, frozen=True):
    """What a subject was: what stands between its caller and its worker, and the versions of its parts."""

    description: str
    versions: dict[str, str]


class Environment(Struct, frozen=True, kw_only=True):
    """Where and with what it ran. `governor` is None where the kernel shows none, `commit` where there is no checkout."""

    maitred: str
    commit: str | None
    changed: bool | None
    python: str
    libraries: dict[str, str]
    system: str
    kernel: str
    machine: str
    processor: str
    cores: int
    memory_bytes: int
    governor: str | None
    load_average: float
    thread_switch_s: float


class Result(Struct, frozen=True, kw_only=True):
    """A run of one scenario.

    Attributes:
        schema: of this file.
        scenario: its name.
        began: UTC, ISO 8601.
        took_s: the whole run.
        parameters: the scenario's.
        notes: what a reader has to know besides, a sentence each.
        recommended: what `tune` would change: values as written in a configuration, by table and key; "caller" is for the
            programs that call.
    """

    schema: int = SCHEMA
    scenario: str
    began: str
    took_s: float
    parameters: dict[str, Any]
    environment: Environment
    subjects: dict[str, SubjectNote]
    measurements: list[Measurement]
    comparisons: list[Comparison] = field(default_factory=list[Comparison])
    skipped: list[Skipped] = field(default_factory=list[Skipped])
    notes: list[str] = field(default_factory=list[str])
    recommended: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])


class ResultError(ValueError):
    """A file is no result that this version reads; the text names the file and the reason."""


def encode(results: list[Result]) -> bytes:
    """The results of a run as JSON, readable by people too."""
    return msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n"


def write(results: list[Result], path: Path) -> None:
    """Write the results of a run."""
    path.write_bytes(encode(results))


def read(path: Path) -> list[Result]:
    """Read what `write` wrote.

    Raises:
        ResultError: it is something else, or of a newer schema.
        OSError: there is no such file.
    """
    data = path.read_bytes()
    try:
        heads = msgspec.json.decode(data, type=list[_Head])
        if any(head.schema > SCHEMA for head in heads):
            raise ResultError(f"{path}: written by a newer version (schema {max(head.schema for head in heads)})")
        return msgspec.json.decode(data, type=list[Result])
    except msgspec.DecodeError as error:
        raise ResultError(f"{path}: not the results of `maitred bench`: {error}") from None


class _Head(Struct):
    schema: int
