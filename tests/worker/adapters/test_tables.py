"""Rows to arrays: what is learnt, what is encoded, and how each refusal names row and column."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maitred.protocol.errors import InvalidArgument
from maitred.worker.adapters import tables
from maitred.worker.adapters.tables import Table, read_table, split


def rows_of(**columns: list[Any]) -> list[dict[str, Any]]:
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def refuse(data: Any, target: str | None = None) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as caught:
        read_table("run", data, target)
    assert caught.value.message.startswith(f"run: argument {caught.value.argument!r}: ")
    return caught.value


X = [1, 2.5, True, 4, 5, 6]
TWICE = ["a", "b", "a", "b", "a", "b"]


def test_numbers_and_texts() -> None:
    table = read_table("run", rows_of(x=X, color=["red", "blue", "red", "red", "blue", "blue"], y=TWICE), None)
    assert table.features.tolist() == [[1, 0, 1], [2.5, 1, 0], [1, 0, 1], [4, 0, 1], [5, 1, 0], [6, 1, 0]]
    assert table.target.tolist() == [0, 1, 0, 1, 0, 1]
    assert (table.classes, table.columns, table.rows) == (("a", "b"), 2, 6)
    assert (table.features.dtype, table.target.dtype) == (np.float64, np.int64)


@pytest.mark.parametrize(
    ("columns", "target", "learnt"),
    [
        ({"x": X, "a": TWICE}, None, ("a", "b")),
        ({"label": TWICE, "x": X}, None, ("a", "b")),
        ({"y": X, "label": TWICE, "x": X}, None, ("a", "b")),
        ({"y": [1.0, 2, 1, 2, 1, 2], "target": TWICE}, "y", ("1.0", "2")),
        ({"x": X, "y": [True, False] * 3}, None, ("False", "True")),
        ({"x": X, "y": [1, 2, 1, 2, 1, 3]}, None, None),
        ({"x": X, "y": [0.5, 1.5] * 3}, None, None),
        ({"x": X, "y": list(range(6))}, None, None),
    ],
)
def test_which_column_is_learnt_and_as_what(columns: Any, target: str | None, learnt: tuple[str, ...] | None) -> None:
    assert read_table("run", rows_of(**columns), target).classes == learnt


@pytest.mark.slow  # the first of them imports scikit-learn
@pytest.mark.parametrize("name", tables.DATA_SETS)
def test_bundled_data_sets(name: str) -> None:
    table = read_table("run", name, None)
    assert table.features.shape == (table.rows, table.columns)
    assert (table.classes is None) == (name == "diabetes")
    if table.classes:
        assert sorted(set(table.target.tolist())) == list(range(len(table.classes)))


def test_unknown_data_set() -> None:
    error = refuse("iriss")
    assert (error.argument, error.nearest) == ("data", "iris")
    assert "did you mean 'iris'? there are: iris, wine" in str(error)
    assert refuse("iris", "petal").argument == "target"


@pytest.mark.parametrize(
    ("change", "row", "column", "words"),
    [
        ({"x": "a"}, 3, "x", "expected a number, as in the first row, got str"),
        ({"color": 1}, 3, "color", "expected a text, as in the first row, got int"),
        ({"x": None}, 3, "x", "got None"),
        ({"x": [1]}, 3, "x", "got list"),
        ({"x": float("nan")}, 3, "x", "finite number up to 1e+100, got nan"),
        ({"x": 10**400}, 3, "x", "finite number"),
        ({"x": float("inf")}, 3, "x", "got inf"),
        ({"z": 1}, 3, "z", "this row has it"),
    ],
)
def test_a_wrong_value_is_named(change: dict[str, Any], row: int, column: str, words: str) -> None:
    data = rows_of(x=X, color=TWICE, y=TWICE)
    data[row] |= change
    error = refuse(data)
    assert (error.argument, error.row, error.column) == (f"data[{row}].{column}", row, column)
    assert words in str(error)
    assert len(str(error)) < 300


def test_a_class_with_too_few_rows_is_named() -> None:
    error = refuse(rows_of(x=[*X, 7], y=[*TWICE, "c"]))
    assert (error.argument, error.row, error.column) == ("data[6].y", 6, "y")
    assert "the class 'c' of the target 'y' has 1 of the 3 rows needed" in str(error)


def test_a_missing_value_is_named() -> None:
    data = rows_of(x=X, y=TWICE)
    del data[2]["x"]
    error = refuse(data)
    assert (error.argument, error.row, error.column) == ("data[2].x", 2, "x")


@pytest.mark.parametrize(
    ("data", "target", "argument", "words"),
    [
        ([], None, "data", "6 to 100000 rows are needed, got 0"),
        (rows_of(y=TWICE), None, "data[0]", "at least one column more"),
        ([{1: 1, "y": 1}] * 6, None, "data[0]", "must be str, not int"),
        (rows_of(x=X, price=X), "prize", "target", "did you mean 'price'? they have: x, price"),
        (rows_of(x=X, y=["a"] * 6), None, "data", "every row has the same 'y', 'a'"),
        (rows_of(x=[None] * 6, y=TWICE), None, "data[0].x", "expected a number or a text, got None"),
    ],
)
def test_other_refusals(data: Any, target: str | None, argument: str, words: str) -> None:
    error = refuse(data, target)
    assert error.argument == argument
    assert words in str(error)


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [str(number) for number in range(tables.MAX_CLASSES + 1)]
    kinds = [str(number // 3) for number in range(len(many) * 3)]
    assert "101 different texts" in str(refuse(rows_of(x=many, y=range(len(many)))))
    assert "has 101 classes" in str(refuse(rows_of(x=[1] * len(kinds), y=kinds)))
    monkeypatch.setattr(tables, "MAX_CELLS", 12)
    assert read_table("run", rows_of(a=X, b=X, y=TWICE), None).features.size == 12
    assert "more than 12 numbers at column 'c'" in str(refuse(rows_of(a=X, b=X, c=X, y=TWICE)))
    assert "at column 'b'" in str(refuse(rows_of(a=X, b=TWICE, y=TWICE)))
    monkeypatch.setattr(tables, "MAX_ROWS", 6)
    assert "got 7" in str(refuse([{"x": 1, "y": 1}] * 7))


def test_the_caller_may_stop_it() -> None:
    def check() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_table("run", rows_of(x=X, y=TWICE), None, check)


@pytest.mark.slow  # likewise
def test_split_keeps_each_class_and_loses_no_row() -> None:
    table = Table(np.zeros((100, 1)), np.array([0] * 90 + [1] * 10), ("a", "b"), 1)
    others, drawn = split(table, 20, seed=3)
    assert sorted([*others, *drawn]) == list(range(100))
    assert table.target[drawn].tolist().count(1) == 2
    assert split(table, 20, seed=3)[1].tolist() == drawn.tolist()


_values = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.none(), max_size=1)
)
_tables = st.lists(
    st.dictionaries(st.sampled_from(["x", "y"]) | st.text(max_size=2), st.sampled_from([0, 1]) | _values, max_size=3),
    max_size=12,
)


@pytest.mark.slow
@given(data=_tables, target=st.none() | st.sampled_from(["x", "y", "z"]))
def test_either_a_table_or_a_refusal(data: Any, target: str | None) -> None:
    try:
        table = read_table("run", data, target)
    except InvalidArgument:
        return
    assert np.isfinite(table.features).all()
    assert table.features.shape[0] == len(table.target) == len(data)
