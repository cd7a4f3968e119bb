"""Values and keys as TOML text: what is written reads back, on one line."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maitred.config.toml_text import dotted, inline, split_key

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_values_read_back(value: Any) -> None:
    text = inline(value)
    assert "…" in text or tomllib.loads(f"x = {text}")["x"] == value
    assert len(text.splitlines()) == 1


@given(st.lists(TEXT, min_size=1, max_size=4))
def test_keys_read_back(path: list[str]) -> None:
    assert split_key(dotted(path)) == tuple(path)


@given(st.text())
def test_any_text_is_a_key_or_none(text: str) -> None:
    path = split_key(text)
    assert path is None or path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a.b", ("a", "b")),
        (" a . 'b.c' ", ("a", "b.c")),
        ('routing."train_*"', ("routing", "train_*")),
        ("routing.train_*", ("routing", "train_*")),
        ("", None),
        ("a.", None),
        (".a", None),
        ("a b", None),
        ('"a', None),
        (r'"\q"', None),
        ("a[0]", None),
    ],
)
def test_keys(text: str, path: tuple[str, ...] | None) -> None:
    assert split_key(text) == path


def test_what_is_not_toml_is_shown_somehow() -> None:
    assert inline(None) == "None"
    assert inline(10**5000) == "a number of 16610 bits"
    deep: Any = 1
    for _ in range(2000):
        deep = [deep]
    assert inline(deep) == "[" * 9 + "…" + "]" * 9
    assert inline("\udc80\u2028\x00") == r'"\uDC80\u2028\u0000"'
