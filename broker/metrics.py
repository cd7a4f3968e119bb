"""`/metrics`: the broker as Prometheus reads it. Everything is read when somebody asks; nothing is kept for it here.

    Metrics(core, clock, outside).render(accept) → the page, and its content type

There is no global registry and no task: a scrape of 20 pools with 1,000 workers takes some 10 ms of the broker's loop, once
in a scrape interval. What there is to read is in `docs/metrics.md`, which is made from the same lists.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any, cast

import zmq
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from maitred.broker.core.meters import Histogram
from maitred.broker.core.router import BrokerCore
from maitred.broker.metrics_families import COUNTER, INFO, Family, Outside, Snapshot
from maitred.broker.metrics_pools import POOLS
from maitred.broker.metrics_process import PROCESS
from maitred.broker.metrics_workers import WORKERS

__all__ = ["FAMILIES", "POOLS", "PROCESS", "WORKERS", "Metrics", "Outside", "build"]

FAMILIES: tuple[Family, ...] = (*POOLS, *WORKERS, *PROCESS)
"""All there are, in the order in which they are written."""

_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
"""What the library writes when nothing else is asked of it; its own names for these differ between versions."""

_LONGEST_ACCEPT_CHARS = 1024
"""Of a header that says what a scraper reads: Prometheus sends a third of it. A longer one is answered in plain text."""


class Metrics(Collector):
    """A collector of `prometheus_client`, that knows how to write itself. To be used in the core's thread.

    Args:
        core: whose numbers they are.
        clock: gives the core's time, in seconds.
        outside: what the core does not know; None: nothing is known of it.
    """

    def __init__(self, core: BrokerCore, clock: Callable[[], float], outside: Outside | None = None) -> None:
        self._core = core
        self._clock = clock
        self._outside = outside or Outside()

    def collect(self) -> Iterator[Metric]:
        """All families as they are just now, those without a sample included."""
        snapshot = Snapshot(self._core.state, self._clock(), self._outside)
        for family in FAMILIES:
            yield _metric(family, snapshot)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The page and its content type: OpenMetrics where the header `Accept` asks for it, else Prometheus's text format.

        Never fails because of the header: what is not understood is answered in plain text.
        """
        encode, content_type = _encoder(accept)
        return encode(self), content_type


def build() -> dict[str, str]:
    """What runs, for `Outside.build`."""
    python = ".".join(map(str, sys.version_info[:3]))
    return {
        "version": metadata.version("maitred"),
        "python": python,
        "trio": metadata.version("trio"),
        "zmq": zmq.zmq_version(),
    }


def _encoder(accept: str) -> tuple[Callable[[Collector], bytes], str]:
    # Not the library's own choice: it fails on a version that is none, and says again what the header said.
    if len(accept) <= _LONGEST_ACCEPT_CHARS:
        wanted = {one.partition(";")[0].strip().lower() for one in accept.split(",")}
        if "application/openmetrics-text" in wanted:
            return cast("Any", openmetrics).generate_latest, _OPEN_METRICS
    return generate_latest, _TEXT


def _metric(family: Family, snapshot: Snapshot) -> Metric:
    name = family.name
    if family.kind == COUNTER:
        name = name.removesuffix("_total")
    elif family.kind == INFO:
        name = name.removesuffix("_info")
    metric = Metric(name, family.text.replace("`", "'"), family.kind, family.unit)
    for values, value in family.read(snapshot):
        labels = dict(zip(family.labels, values, strict=True))
        if isinstance(value, Histogram):
            _add_histogram(metric, labels, value)
        else:
            metric.add_sample(family.name, labels, float(value))
    return metric


def _add_histogram(metric: Metric, labels: dict[str, str], histogram: Histogram) -> None:
    below = 0
    for bound, below in zip(_bounds(histogram), itertools.accumulate(histogram.counts), strict=True):
        metric.add_sample(metric.name + "_bucket", {**labels, "le": bound}, below)
    metric.add_sample(metric.name + "_count", labels, below)
    metric.add_sample(metric.name + "_sum", labels, histogram.total)


def _bounds(histogram: Histogram) -> list[str]:
    return [*map(repr, histogram.bounds), "+Inf"]
