"""The columns that a model was made for, and rows turned into its features: what a later request's rows have to fit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from maitred.protocol.errors import InvalidArgument
from maitred.worker.adapters.extras import library
from maitred.worker.refusals import name_of

if TYPE_CHECKING:
    from maitred.worker.adapters.tables import Floats

__all__ = ["MAX_NUMBER", "MAX_ROWS", "Column", "encode_rows", "is_finite", "refusal", "shortened"]

MAX_ROWS = 100_000
"""Rows of a request at most."""

MAX_NUMBER = 1e100
"""Largest magnitude of a number: its square, summed over all rows, stays finite."""


class Column(Struct, frozen=True):
    """One column of the rows; `kinds` are its texts, in order, each of which is a feature; none: it is a number."""

    name: str
    kinds: tuple[str, ...] = ()


def encode_rows(command: str, rows: list[dict[Any, Any]], columns: tuple[Column, ...]) -> Floats:
    """The features of rows that have these columns; others that they have are not looked at.

    Raises:
        InvalidArgument: it names the row and the column where something is wrong.
    """
    if not 1 <= len(rows) <= MAX_ROWS:
        raise refusal(command, "data", f"1 to {MAX_ROWS} rows are taken, got {len(rows)}")
    encoded = [
        [number for column in columns for number in _numbers(command, index, row, column)]
        for index, row in enumerate(rows)
    ]
    return library("numpy").array(encoded, dtype="float64")


def _numbers(command: str, index: int, row: dict[Any, Any], column: Column) -> list[float]:
    value = row.get(column.name)
    if column.kinds:
        if value in column.kinds:
            return [float(value == kind) for kind in column.kinds]
        wanted = f"one of {', '.join(map(repr, column.kinds[:20]))}"
    else:
        if isinstance(value, int | float) and is_finite(value):
            return [float(value)]
        wanted = "a finite number"
    found = "nothing" if column.name not in row else shortened(value) if value is not None else name_of(type(value))
    argument = f"data[{index}].{column.name}"
    reason = f"expected {wanted}, as the model was trained on, got {found}"
    raise refusal(command, argument, reason, row=index, column=column.name)


def is_finite(value: Any) -> bool:
    """Whether a number is one that can be computed with."""
    return -MAX_NUMBER <= value <= MAX_NUMBER and not math.isnan(value)


def shortened(value: Any) -> str:
    """A value in a message."""
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


def refusal(command: str, argument: str, reason: str, **more: Any) -> InvalidArgument:
    """What is raised about an argument."""
    message = f"{command}: argument {argument!r}: {reason}"
    return InvalidArgument(message, command=command, argument=argument, reason=reason, **more)
