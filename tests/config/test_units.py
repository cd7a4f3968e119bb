"""Durations and sizes: what people write, what comes back, and that nothing but ValueRejected comes out otherwise."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maitred.config.problems import ValueRejected
from maitred.config.units import MAX_DURATION_S, format_duration, format_size, parse_duration, parse_size

ANYTHING: st.SearchStrategy[Any] = st.one_of(
    st.text(),
    st.from_regex(r"[0-9.]{1,20} ?[A-Za-z]{0,3}"),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.lists(st.integers()),
    st.dictionaries(st.text(), st.integers()),
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("500ms", 0.5),
        ("250us", 0.00025),
        ("5min", 300.0),
        ("5m", 300.0),
        ("2h", 7200.0),
        ("1d", 86400.0),
        ("1.5 s", 1.5),
        ("30", 30.0),
        (30, 30.0),
        (0.25, 0.25),
        ("0s", 0.0),
    ],
)
def test_durations(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512MB", 512 * 10**6),
        ("1GiB", 2**30),
        ("4GB", 4 * 10**9),
        ("1.5KiB", 1536),
        ("0.3kB", 300),
        ("2 TiB", 2**41),
        ("7B", 7),
        ("1024", 1024),
        (1024, 1024),
    ],
)
def test_sizes(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "value",
    [
        "",
        "5 parsecs",
        "-1s",
        "1s ",
        "s",
        "1e3s",
        "\N{ARABIC-INDIC DIGIT ONE}s",
        "5MIN",
        True,
        None,
        -1,
        math.nan,
        math.inf,
        [1],
    ],
)
def test_no_durations(value: Any) -> None:
    with pytest.raises(ValueError, match=r'expected a duration: .*"500ms"'):
        parse_duration(value)


@pytest.mark.parametrize("value", ["", "512", "x"])
def test_sizes_need_no_unit_but_digits(value: str) -> None:
    if value.isdigit():
        assert parse_size(value) == 512
    else:
        with pytest.raises(ValueRejected):
            parse_size(value)


@pytest.mark.parametrize("value", ["12XB", "0.5B", "1.0001KiB", -1, 1.5, True, None, 2**63, "99999999TiB"])
def test_no_sizes(value: Any) -> None:
    with pytest.raises(ValueError, match=r'expected a size: .*"512MB"'):
        parse_size(value)


@pytest.mark.parametrize(("value", "meant"), [("512mb", '"512MB"'), ("1 gib", '"1GiB"'), ("3Gb", '"3GB"')])
def test_the_unit_meant_is_offered(value: str, meant: str) -> None:
    with pytest.raises(ValueRejected) as caught:
        parse_size(value)
    assert caught.value.nearest == meant
    assert f"did you mean {meant}?" in str(caught.value)


@given(ANYTHING)
def test_any_value_is_a_duration_or_rejected(value: Any) -> None:
    said = ""
    try:
        assert 0 <= parse_duration(value) <= MAX_DURATION_S
    except ValueRejected as error:
        said = str(error)
    assert len(said.splitlines()) <= 1


@given(ANYTHING)
def test_any_value_is_a_size_or_rejected(value: Any) -> None:
    said = ""
    try:
        assert 0 <= parse_size(value) < 2**63
    except ValueRejected as error:
        said = str(error)
    assert len(said.splitlines()) <= 1


@given(st.floats(0, MAX_DURATION_S) | st.integers(0, 10**7).map(lambda n: n / 1000))
def test_what_is_formatted_reads_back(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=0, abs=1e-20)


@given(st.integers(0, 10**15 - 1) | st.sampled_from([2**30, 10**9, 512 * 10**6, 2**50]))
def test_sizes_read_back(size: int) -> None:
    assert parse_size(format_size(size)) == size


def test_formats_are_what_people_write() -> None:
    assert [format_duration(s) for s in (0, 0.1, 1, 90, 300, 7200, 0.0005)] == [
        "0s", "100ms", "1s", "90s", "5min", "2h", "500us",
    ]  # fmt: skip
    assert [format_size(n) for n in (0, 1, 512 * 10**6, 2**28, 2**30, 10**9)] == [
        "0B", "1B", "512MB", "256MiB", "1GiB", "1GB",
    ]  # fmt: skip
