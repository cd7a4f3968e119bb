"""Queries as a server reads them: which series they ask for, and whether there are such series."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import promql_parser
from metrics_page import scraped_names

SCRAPED = dict(scraped_names())
TARGET = {"instance", "job"}
"""Labels that the server itself adds."""

VARIABLES = {"$__rate_interval": "5m", "$__range": "1h", "$__interval": "1m", "$instance": "b", "$pool": "p"}

_PARTS = ("lhs", "rhs", "expr", "vector_selector", "args", "param")


def parsed(expression: str) -> Any:
    """The tree of an expression, with a dashboard's variables filled in."""
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    return promql_parser.parse(expression)


def wrong_with(expression: str) -> list[str]:
    """What it asks for that no broker has."""
    tree = parsed(expression)
    known = set(TARGET)
    wrong: list[str] = []
    for node in nodes(tree):
        if isinstance(node, promql_parser.VectorSelector):
            if node.name not in SCRAPED:
                wrong.append(f"no metric {node.name}")
                continue
            labels = SCRAPED[node.name] | TARGET
            known |= labels
            wrong += [f"{node.name} has no label {it.name}" for it in node.matchers.matchers if it.name not in labels]
    return wrong + [f"no label {label} to group by" for label in grouped_by(tree) if label not in known]


def nodes(tree: Any) -> Iterator[Any]:
    yield tree
    for part in _PARTS:
        inner = getattr(tree, part, None)
        for one in inner if isinstance(inner, list) else [inner]:
            if isinstance(one, (promql_parser.Expr, promql_parser.VectorSelector)):
                yield from nodes(one)


def grouped_by(tree: Any) -> Iterator[str]:
    for node in nodes(tree):
        modifier = getattr(node, "modifier", None)
        if modifier is not None:
            where = modifier if hasattr(modifier, "labels") else modifier.matching
            yield from where.labels if where is not None else ()


def labels_of(expression: str) -> set[str]:
    """Labels that its result may have, for a legend: those it groups by, or all that its metrics have."""
    tree = parsed(expression)
    grouped = set(grouped_by(tree))
    found = [SCRAPED[node.name] for node in nodes(tree) if isinstance(node, promql_parser.VectorSelector)]
    return grouped or TARGET.union(*found)


def fields_of(legend: str) -> set[str]:
    return set(re.findall(r"{{\s*(\w+)\s*}}", legend))
