"""Size expressions: the arithmetic, and that any other text is rejected and never run."""

from __future__ import annotations

import ast
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maitred.config.expressions import MAX_CHARS, MAX_VALUE, evaluate
from maitred.config.hardware import Hardware
from maitred.config.problems import ValueRejected

HERE = Hardware(cpus=6, gpus=2)

LIKELY = st.lists(
    st.sampled_from(
        ["cpus", "gpus", "min", "max", "(", ")", ",", "+", "-", "*", "/", "//", "1", "20", "0", " ", "**", "x"]
    ),
    max_size=14,
).map("".join)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4", 4),
        ("2 * cpus", 12),
        ("cpus*2", 12),
        (" cpus - 1 ", 5),
        ("cpus / 4", 1),
        ("cpus // 4 * 4", 4),
        ("3 * cpus / 4", 4),
        ("max(1, gpus)", 2),
        ("min(8, cpus - 1, 100)", 5),
        ("min(cpus)", 6),
        ("-(1 - cpus)", 5),
        ("max(0, gpus - 5)", 0),
        ("(1 + 2) * (3 + gpus)", 15),
    ],
)
def test_arithmetic(text: str, value: int) -> None:
    assert evaluate(text, HERE) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "cpus cpus",
        "2 ** 9",
        "cpus.real",
        "__import__('os')",
        "max",
        "max()",
        "max(*cpus)",
        "max(1, key=2)",
        "abs(1)",
        "1 if cpus else 2",
        "1 or 2",
        "1or 2",
        "True",
        "007",
        "1_000",
        "0x10",
        "1.5",
        "[1]",
        "x := 2",
        "cpus\n+1",
        "+1",
        "~1",
        "½",
        "cpus\0",
    ],
)
def test_everything_else_is_rejected(text: str) -> None:
    with pytest.raises(ValueRejected, match="expected an expression of whole numbers, cpus, gpus"):
        evaluate(text, HERE)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("cpus - 10", r"comes to -4 here \(cpus = 6\)"),
        ("1 - cpus / 5", "comes to -1 here"),
        ("4 // (gpus - 2)", "divides by zero"),
        ("4 / 0", "divides by zero"),
        ("999999999 * 999999999", "too large"),
        ("9" * MAX_CHARS, "too large"),
        ("1+" * MAX_CHARS + "1", "longer than"),
        ("(" * 99 + "1" + ")" * 99, ""),
        ("-" * 150 + "1", "nested"),
        ("cpu", "'cpu' is not known.*did you mean cpus"),
    ],
)
def test_the_reason_is_said(text: str, reason: str) -> None:
    if text.startswith("("):
        assert evaluate(text, HERE) == 1  # parentheses alone leave no trace
        return
    with pytest.raises(ValueRejected, match=reason):
        evaluate(text, HERE)


@given(st.text() | LIKELY)
def test_any_text_is_a_number_or_rejected(text: str) -> None:
    said = ""
    try:
        value = evaluate(text, HERE)
        assert 0 <= value <= MAX_VALUE
        python = eval(compile(ast.parse(text.strip(), mode="eval"), "", "eval"), {"cpus": 6, "gpus": 2})
        assert value == math.floor(python + 1e-9)
    except ValueRejected as error:
        said = str(error)
    assert len(said.splitlines()) <= 1


def test_hostile_text_is_rejected_at_once() -> None:
    began = time.perf_counter()
    for text in ("a" * MAX_CHARS + "!", " " * MAX_CHARS + "!", "1 " * 99 + "!", "(" * MAX_CHARS):
        with pytest.raises(ValueRejected):
            evaluate(text[:MAX_CHARS], HERE)
    assert time.perf_counter() - began < 1
