"""Positions in a trace, as W3C Trace Context has them: what is read, what is passed on, and what is ignored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maitred.protocol.trace import MAX_TRACESTATE_CHARS, TRACEPARENT_CHARS, Trace, checked, read

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"


def test_what_it_says() -> None:
    found = read(f"{PARENT} vendor=1,other=2")
    assert found == Trace(TRACE, SPAN, 1, "vendor=1,other=2")
    assert found.sampled
    assert str(found) == f"{PARENT} vendor=1,other=2"
    assert found.traceparent == PARENT
    quiet = read(PARENT[:-1] + "0")
    assert quiet is not None
    assert not quiet.sampled


@pytest.mark.parametrize(
    "malformed",
    [
        "",
        " ",
        "x",
        PARENT.upper(),
        PARENT[:-1],
        PARENT + "-more",  # version 00 has no more
        "ff" + PARENT[2:],
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        PARENT.replace("-", "_"),
        PARENT + "\n",
        f" {PARENT}",
        PARENT.replace("0af", "\u0660af"),  # a digit, and no ASCII
    ],
)
def test_what_is_malformed_is_ignored(malformed: str) -> None:
    assert read(malformed) is None
    assert checked(malformed) == ""


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert checked(f"cc-{TRACE}-{SPAN}-01-what-the-future-brings") == PARENT


@pytest.mark.parametrize("state", ["v=" + "a" * MAX_TRACESTATE_CHARS, "v=\x00", "v=é", "v=\n"])
def test_a_state_that_cannot_be_passed_on_is_left_out(state: str) -> None:
    assert checked(f"{PARENT} {state}") == PARENT


@given(st.text() | st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}( .*)?", fullmatch=True))
def test_whatever_comes_what_is_passed_on_is_bounded_and_read_alike(said: str) -> None:
    passed = checked(said)
    assert len(passed) <= TRACEPARENT_CHARS + 1 + MAX_TRACESTATE_CHARS
    assert checked(passed) == passed
    assert read(passed) == read(said) if passed else read(said) is None
