"""What the bundled adapters carry of a session from one process to the next: plain values and arrays, never pickle."""

from __future__ import annotations

from typing import Any

import msgspec

from maitred.worker.adapters.columns import Column
from maitred.worker.adapters.extras import library
from maitred.worker.adapters.tables import DATA_SETS, Table, read_table

__all__ = ["bring_random", "bring_table", "carry_random", "carry_table", "same_table", "writable"]

PLAIN_INT_BITS = 64
"""Larger ones are no values of msgpack: they travel as text."""


def carry_table(table: Table, source: str | None) -> Any:
    """A table's rows; of a bundled data set, `source`, its name is enough."""
    if source in DATA_SETS:
        return source
    return {
        "features": table.features,
        "target": table.target,
        "classes": table.classes,
        "columns": table.columns,
        "encoding": [msgspec.structs.astuple(column) for column in table.encoding],
    }


def bring_table(command: str, value: Any) -> Table:
    """The table that it was."""
    if isinstance(value, str):
        return read_table(command, value, None)
    classes = value["classes"]
    return Table(
        writable(value["features"]),
        writable(value["target"]),
        None if classes is None else tuple(classes),
        value["columns"],
        tuple(Column(name, tuple(kinds)) for name, kinds in value["encoding"]),
    )


def same_table(one: Table, other: Table) -> bool:
    """Whether they hold the same rows."""
    equal = library("numpy").array_equal
    shape = (one.classes, one.encoding) == (other.classes, other.encoding)
    return shape and bool(equal(one.features, other.features) and equal(one.target, other.target))


def carry_random(generator: Any) -> Any:
    """The state of one of NumPy's generators."""
    return _plain(generator.bit_generator.state)


def bring_random(value: Any) -> Any:
    """The generator that it was."""
    generator: Any = library("numpy").random.default_rng()
    generator.bit_generator.state = _numbers(value)
    return generator


def writable(array: Any) -> Any:
    """An array of its own: what was received is a view of the message, which could not be written and would stay."""
    return library("numpy").array(array)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
    return f"#{value}" if isinstance(value, int) and value.bit_length() > PLAIN_INT_BITS else value


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
    return int(value[1:]) if isinstance(value, str) and value.startswith("#") else value
