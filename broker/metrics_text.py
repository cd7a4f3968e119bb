"""The page of `/metrics` as text, byte for byte as `prometheus_client` writes it, in a third of the time or less.

The broker passes nothing on while it writes. Of 20 pools with 1,000 workers the library makes 10 ms for plain text, 18 ms
for OpenMetrics, which Prometheus asks for; here both take 4 ms: labels are written once for all lines of a histogram, and
nothing is checked line by line that is so by construction. A test holds both pages against the library's.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client.utils import floatToGoString  # pyright: ignore[reportUnknownVariableType]

from maitred.broker.core.meters import Histogram
from maitred.broker.metrics_families import COUNTER, INFO, Family, Sample, Snapshot

__all__ = ["base_name", "bounds", "page", "plain"]


def page(families: tuple[Family, ...], snapshot: Snapshot, *, open_metrics: bool) -> bytes:
    """All families, in OpenMetrics's format or in Prometheus's own."""
    parts: list[str] = []
    for family in families:
        parts += _heading(family, open_metrics)
        for sample in family.read(snapshot):
            parts += _lines(family, sample)
    if open_metrics:
        parts.append("# EOF\n")
    return "".join(parts).encode()


def base_name(family: Family) -> str:
    """Its name without what its kind adds to it."""
    return family.name.removesuffix({COUNTER: "_total", INFO: "_info"}.get(family.kind, ""))


def plain(text: str) -> str:
    """What a family says, without the marks of our pages."""
    return text.replace("`", "'")


def _heading(family: Family, open_metrics: bool) -> Iterator[str]:
    name, kind = (base_name(family), family.kind) if open_metrics else (family.name, family.kind.replace(INFO, "gauge"))
    yield f"# HELP {name} {plain(family.text)}\n# TYPE {name} {kind}\n"
    if open_metrics and family.unit:
        yield f"# UNIT {name} {family.unit}\n"


def _lines(family: Family, sample: Sample) -> Iterator[str]:
    values, value = sample
    pairs = sorted((label, _escaped(word)) for label, word in zip(family.labels, values, strict=True))
    words = [f'{label}="{word}"' for label, word in pairs]
    if isinstance(value, Histogram):
        before = sum(label < "le" for label, _ in pairs)
        yield from _histogram(family.name, value, words, before)
    else:
        yield f"{family.name}{_braced(words)} {_number(value)}\n"


def _histogram(name: str, histogram: Histogram, words: list[str], before: int) -> Iterator[str]:
    left = "".join(word + "," for word in words[:before])
    right = "".join("," + word for word in words[before:])
    below = 0
    for bound, below in zip(bounds(histogram.bounds), accumulate(histogram.counts), strict=True):
        yield f'{name}_bucket{{{left}le="{bound}"{right}}} {_number(below)}\n'
    labels = _braced(words)
    yield f"{name}_count{labels} {_number(below)}\n{name}_sum{labels} {_number(histogram.total)}\n"


@functools.cache
def bounds(upper: tuple[float, ...]) -> tuple[str, ...]:
    """Upper bounds as they are written, the last one included that has none."""
    return (*map(repr, upper), "+Inf")


def _braced(words: list[str]) -> str:
    return "{" + ",".join(words) + "}" if words else ""


def _number(value: float) -> str:
    return "0.0" if not value else floatToGoString(value)


def _escaped(word: str) -> str:
    return word.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
