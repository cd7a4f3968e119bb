"""The rows of a request, or a bundled data set by its name, as NumPy arrays; what is wrong is named by row and column.

A row is a map of column names to numbers or texts. A column of texts becomes one column of 0 and 1 for each text that
is in it. The target's values decide what is learnt: classes where they are texts, booleans, or whole numbers of which
each of a few comes up often enough; a quantity (regression) elsewhere.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

from maitred.protocol.errors import InvalidArgument
from maitred.worker.adapters.columns import MAX_NUMBER, MAX_ROWS, Column, is_finite, refusal, shortened
from maitred.worker.adapters.extras import library
from maitred.worker.refusals import name_of, nearest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Indices = NDArray[np.int64]

__all__ = ["DATA_SETS", "Table", "read_table", "split"]

DATA_SETS = ("iris", "wine", "breast_cancer", "digits", "diabetes")
"""What scikit-learn brings along, nothing downloaded; all are classes but diabetes, which is a quantity."""

TARGETS = ("target", "label", "y")
"""Columns taken for the target where none is named, the first that there is; without any, a row's last column."""

MIN_ROWS = 6
"""Rows of a table at least: two for each of the three folds of a cross-validation."""

MAX_CELLS = 10_000_000
"""Numbers of a table at most, after texts became columns: 80 MB."""

MIN_PER_CLASS = 3
"""Rows of each class at least: one for each fold."""

MAX_CLASSES = 100
"""Different texts of a target, or of any other column, at most; with more it holds names rather than kinds."""

MAX_WHOLE_CLASSES = 20
"""Different whole numbers of a target, up to which they are taken for classes."""


@dataclass(frozen=True, slots=True)
class Table:
    """What is learnt from.

    Attributes:
        features: rows x encoded columns.
        target: class numbers from 0 (int64), or the quantity (float64); one for each row.
        classes: the classes' names by number; None where the target is a quantity.
        columns: how many feature columns there were before texts became several.
        encoding: those columns.
    """

    features: Floats
    target: Any
    classes: tuple[str, ...] | None
    columns: int
    encoding: tuple[Column, ...] = ()

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.target)


def read_table(
    command: str, data: list[dict[Any, Any]] | str, target: str | None, check: Callable[[], None] = lambda: None
) -> Table:
    """Make a table of a request's `data` and `target`.

    Args:
        command: the command, for messages.
        data: rows, or a name out of `DATA_SETS`.
        target: the column to learn; None takes the first of `TARGETS` that there is, or the last column.
        check: called before each column: the caller may raise from it.

    Raises:
        InvalidArgument: it names the argument, and the row and column where one is wrong.
    """
    if isinstance(data, str):
        return _bundled(command, data, target)
    return _Rows(command, data, check).read(target)


def split(table: Table, rows: int, seed: int) -> tuple[Indices, Indices]:
    """Draw `rows` of a table's rows, every class in its proportion; returns the numbers of the others, and of these."""
    numbers = library("numpy").arange(table.rows)
    stratify = None if table.classes is None else table.target
    model_selection = library("sklearn.model_selection")
    return model_selection.train_test_split(numbers, test_size=rows, random_state=seed, stratify=stratify)


def _bundled(command: str, name: str, target: str | None) -> Table:
    if name not in DATA_SETS:
        near = nearest(name, DATA_SETS)
        meant = f"did you mean {near!r}? " if near else ""
        reason = f"no data set {name!r}; {meant}there are: {', '.join(DATA_SETS)}; or send rows"
        raise refusal(command, "data", reason, accepted=list(DATA_SETS), nearest=near)
    if target not in (None, "target"):
        raise refusal(command, "target", f"the data set {name!r} has its own; leave it out, not {target!r}")
    found = getattr(library("sklearn.datasets"), f"load_{name}")()
    classes = tuple(str(label) for label in found.target_names) if hasattr(found, "target_names") else None
    labels = found.target.astype("float64" if classes is None else "int64")
    encoding = tuple(Column(str(column)) for column in found.feature_names)
    return Table(found.data.astype("float64"), labels, classes, len(encoding), encoding)


class _Rows:
    """One request's rows on their way to a table."""

    def __init__(self, command: str, rows: list[dict[Any, Any]], check: Callable[[], None]) -> None:
        self._command = command
        self._rows = rows
        self._check = check

    def read(self, target: str | None) -> Table:
        np = library("numpy")
        names = self._names()
        target = self._target(names, target)
        labels, classes = self._labels(target)
        columns: list[list[float]] = []
        encoding: list[Column] = []
        for name in names:
            if name != target:
                self._check()
                column, numbers = self._columns(name, MAX_CELLS // len(self._rows) - len(columns))
                encoding.append(column)
                columns += numbers
        wanted = np.array(labels, dtype="float64" if classes is None else "int64")
        return Table(np.array(columns, dtype="float64").T.copy(), wanted, classes, len(encoding), tuple(encoding))

    def _names(self) -> list[str]:
        rows = self._rows
        if not MIN_ROWS <= len(rows) <= MAX_ROWS:
            raise self._refuse("data", f"{MIN_ROWS} to {MAX_ROWS} rows are needed, got {len(rows)}")
        names = list(rows[0])
        for name in names:
            if not isinstance(name, str):
                raise self._refuse("data[0]", f"a column's name must be str, not {name_of(type(name))}", row=0)
        if len(names) < 2:
            raise self._refuse("data[0]", f"a row needs a target and at least one column more, got {names}", row=0)
        expected = rows[0].keys()
        for index, row in enumerate(rows):
            if row.keys() != expected:
                raise self._uneven(index, row)
        return names

    def _uneven(self, index: int, row: dict[Any, Any]) -> InvalidArgument:
        absent = [name for name in self._rows[0] if name not in row]
        if absent:
            return self._wrong(index, absent[0], "this row does not have it, and the first one does")
        more = [name for name in row if name not in self._rows[0]]
        return self._wrong(index, more[0], "this row has it, and the first one does not")

    def _target(self, names: list[str], target: str | None) -> str:
        if target is None:
            return next((name for name in TARGETS if name in names), names[-1])
        if target not in names:
            near = nearest(target, names)
            meant = f"did you mean {near!r}? " if near else ""
            reason = f"the rows have no column {target!r}; {meant}they have: {', '.join(names[:20])}"
            raise self._refuse("target", reason, nearest=near)
        return target

    def _labels(self, name: str) -> tuple[Sequence[float], tuple[str, ...] | None]:
        values: list[Any] = self._values(name)
        counts = Counter(values)
        if len(counts) < 2:
            raise self._refuse(
                "data", f"every row has the same {name!r}, {shortened(values[0])}: nothing can be learnt"
            )
        if not _are_classes(values, counts):
            return values, None
        if len(counts) > MAX_CLASSES:
            raise self._refuse(
                "data", f"the target {name!r} has {len(counts)} classes; at most {MAX_CLASSES} are taken"
            )
        for value, count in counts.items():
            if count < MIN_PER_CLASS:
                found = f"the class {shortened(value)} of the target {name!r}"
                reason = f"{found} has {count} of the {MIN_PER_CLASS} rows needed"
                raise self._wrong(values.index(value), name, reason)
        order = sorted(counts)
        numbers = {value: number for number, value in enumerate(order)}
        return [numbers[value] for value in values], tuple(str(value) for value in order)

    def _columns(self, name: str, room: int) -> tuple[Column, list[list[float]]]:
        """The numbers of one column, or one column for each of its texts; `room` is how many more may come."""
        values = self._values(name)
        kinds = sorted(set(values)) if isinstance(values[0], str) else []
        if len(kinds) > MAX_CLASSES:
            raise self._refuse(
                "data", f"column {name!r} has {len(kinds)} different texts; at most {MAX_CLASSES} are taken"
            )
        if max(len(kinds), 1) > room:
            raise self._refuse("data", f"more than {MAX_CELLS} numbers at column {name!r}; send fewer rows or columns")
        column = Column(name, tuple(kinds))
        if not kinds:
            return column, [values]
        return column, [[float(value == kind) for value in values] for kind in kinds]

    def _values(self, name: str) -> list[Any]:
        """One column, every value checked: all texts, or all numbers that are finite."""
        text = isinstance(self._rows[0][name], str)
        values: list[Any] = [row[name] for row in self._rows]
        kind = str if text else Real
        for index, value in enumerate(values):
            if not isinstance(value, kind):
                raise self._mistyped(index, name, value, "text" if text else "number")
            if not text and not is_finite(value):
                raise self._wrong(index, name, f"expected a finite number up to {MAX_NUMBER}, got {shortened(value)}")
        return values

    def _mistyped(self, index: int, name: str, value: Any, first: str) -> InvalidArgument:
        expected = f"a {first}, as in the first row" if index else "a number or a text"
        return self._wrong(index, name, f"expected {expected}, got {None if value is None else name_of(type(value))}")

    def _wrong(self, index: int, column: Any, reason: str) -> InvalidArgument:
        return self._refuse(f"data[{index}].{column}", reason, row=index, column=str(column))

    def _refuse(self, argument: str, reason: str, **more: Any) -> InvalidArgument:
        return refusal(self._command, argument, reason, **more)


def _are_classes(values: list[Any], counts: Counter[Any]) -> bool:
    if isinstance(values[0], str) or all(isinstance(value, bool) for value in values):
        return True
    few = len(counts) <= MAX_WHOLE_CLASSES and min(counts.values()) >= MIN_PER_CLASS
    return few and all(value == math.floor(value) for value in counts)
