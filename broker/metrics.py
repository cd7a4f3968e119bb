"""`/metrics`: the broker as Prometheus reads it. Everything is read when somebody asks; nothing is kept for it here.

    Metrics(core, clock, outside).render(accept) → the page, and its content type

There is no global registry and no task: a scrape of 20 pools with 1,000 workers takes some 4 ms of the broker's loop, once
in a scrape interval. What there is to read is in `docs/metrics.md`, which is made from the same lists.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator

import trio
import zmq
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from maitred.broker.core.meters import Histogram
from maitred.broker.core.router import BrokerCore
from maitred.broker.metrics_families import Family, Outside, Snapshot
from maitred.broker.metrics_pools import POOLS
from maitred.broker.metrics_process import PROCESS
from maitred.broker.metrics_text import base_name, bounds, page, plain
from maitred.broker.metrics_workers import WORKERS
from maitred.protocol.version import VERSION

__all__ = ["FAMILIES", "POOLS", "PROCESS", "WORKERS", "Metrics", "Outside", "build"]

FAMILIES: tuple[Family, ...] = (*POOLS, *WORKERS, *PROCESS)
"""All there are, in the order in which they are written."""

_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
"""The two formats, both of `metrics_text`."""

_LONGEST_ACCEPT_CHARS = 1024
"""Of a header that says what a scraper reads: Prometheus sends a third of it. What comes after that is not looked at."""


class Metrics(Collector):
    """Writes the page; also a collector of `prometheus_client`, for who has a registry. For use in the core's thread.

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
        snapshot = Snapshot(self._core.state, self._clock(), self._outside)
        open_metrics = _wants_open_metrics(accept)
        return page(FAMILIES, snapshot, open_metrics=open_metrics), _OPEN_METRICS if open_metrics else _TEXT


def build() -> dict[str, str]:
    """What runs, for `Outside.build`."""
    python = ".".join(map(str, sys.version_info[:3]))
    return {
        "version": VERSION,
        "python": python,
        "trio": trio.__version__,
        "zmq": zmq.zmq_version(),
    }


def _wants_open_metrics(accept: str) -> bool:
    wanted = (one.partition(";")[0].strip().lower() for one in accept[:_LONGEST_ACCEPT_CHARS].split(","))
    return "application/openmetrics-text" in wanted


def _metric(family: Family, snapshot: Snapshot) -> Metric:
    metric = Metric(base_name(family), plain(family.text), family.kind, family.unit)
    for values, value in family.read(snapshot):
        labels = dict(zip(family.labels, values, strict=True))
        if isinstance(value, Histogram):
            _add_histogram(metric, labels, value)
        else:
            metric.add_sample(family.name, labels, float(value))
    return metric


def _add_histogram(metric: Metric, labels: dict[str, str], histogram: Histogram) -> None:
    below = 0
    for bound, below in zip(bounds(histogram.bounds), itertools.accumulate(histogram.counts), strict=True):
        metric.add_sample(metric.name + "_bucket", {**labels, "le": bound}, below)
    metric.add_sample(metric.name + "_count", labels, below)
    metric.add_sample(metric.name + "_sum", labels, histogram.total)
