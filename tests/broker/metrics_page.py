"""A page of `/metrics` as a server reads it: by the parser of `prometheus_client`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open_metrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from maitred.broker.core.router import BrokerCore
from maitred.broker.metrics import FAMILIES, Metrics, Outside

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


class Page:
    """What one scrape gave."""

    def __init__(self, text: str, *, open_metrics: bool = False) -> None:
        parse = parse_open_metrics if open_metrics else parse_text
        self.families: dict[str, Metric] = {}
        self.samples: dict[str, list[tuple[dict[str, str], float]]] = {}
        for family in parse(text):
            assert family.name not in self.families
            self.families[family.name] = family
            for sample in family.samples:
                self.samples.setdefault(sample.name, []).append((sample.labels, sample.value))

    def __call__(self, name: str, **labels: str) -> float:
        """The only sample of that name that has these labels."""
        (value,) = self.all(name, **labels)
        return value

    def sum(self, name: str, **labels: str) -> float:
        return sum(self.all(name, **labels))

    def all(self, name: str, **labels: str) -> list[float]:
        return [value for found, value in self.samples.get(name, []) if labels.items() <= found.items()]

    def buckets(self, name: str, **labels: str) -> list[tuple[float, float]]:
        found = [(at, value) for at, value in self.samples[name + "_bucket"] if labels.items() <= at.items()]
        return [(float(at["le"]), value) for at, value in found]


def read(core: BrokerCore, now: float, accept: str = "", **outside: Any) -> Page:
    text, content_type = Metrics(core, lambda: now, Outside(**outside)).render(accept)
    return Page(text.decode(), open_metrics=content_type.startswith("application/openmetrics-text"))


def scraped_names() -> Iterator[tuple[str, set[str]]]:
    """Every name that a query may ask for, with its labels."""
    for family in FAMILIES:
        labels = set(family.labels)
        if family.kind == "histogram":
            yield family.name + "_bucket", labels | {"le"}
            yield family.name + "_count", labels
            yield family.name + "_sum", labels
        else:
            yield family.name, labels
