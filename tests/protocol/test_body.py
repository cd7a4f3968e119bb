"""Bodies: what goes in comes out, what cannot go in is named, and no bytes raise anything but DecodeError."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maitred.protocol import limits
from maitred.protocol.body import decode_body, encode_body
from maitred.protocol.errors import DecodeError, EncodeError

LARGE = limits.OUT_OF_BAND_BYTES

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.datetimes(timezones=st.just(datetime.UTC), min_value=datetime.datetime(1971, 1, 1))
)
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(0, 99), inner))


@given(values)
def test_any_value_comes_back(value: object) -> None:
    assert decode_body(encode_body(value)) == value


@given(st.lists(st.binary(max_size=200), max_size=4))
def test_any_bytes_decode_or_raise_decode_error(frames: list[bytes]) -> None:
    with contextlib.suppress(DecodeError):
        decode_body(frames)


@given(st.binary(max_size=60), st.sampled_from([1, 2]))
def test_any_extension_decodes_or_raises_decode_error(payload: bytes, code: int) -> None:
    with contextlib.suppress(DecodeError):
        decode_body([bytes([0xC7, len(payload), code]) + payload, b"12345678"])


@pytest.mark.parametrize("place", ["top", "value", "deep"])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_large_buffers_have_frames_of_their_own(place: str, kind: type) -> None:
    data = kind(b"x" * LARGE)
    value = {"top": data, "value": {"a": data}, "deep": {"a": [1, {"b": data}]}}[place]
    frames = encode_body(value)
    assert len(frames) == 2
    assert frames[1] is data
    plain = {"top": b"x" * LARGE, "value": {"a": b"x" * LARGE}, "deep": {"a": [1, {"b": b"x" * LARGE}]}}[place]
    assert decode_body(frames) == plain


def test_more_large_buffers_than_frames_stay_in_band() -> None:
    value = [b"x" * LARGE] * (limits.MAX_FRAMES + 10)
    frames = encode_body(value)
    assert len(frames) + 1 <= limits.MAX_FRAMES
    assert decode_body(frames) == value


@pytest.mark.parametrize("spare", [0, 1, 5])
def test_frames_can_be_left_for_something_else(spare: int) -> None:
    value = [bytes([n]) * limits.OUT_OF_BAND_BYTES for n in range(70)]
    body = encode_body(value, spare=spare)
    assert len(body) == limits.MAX_FRAMES - 1 - spare
    assert decode_body(body) == value


@pytest.mark.parametrize("count", [0, 3, LARGE])
@pytest.mark.parametrize("dtype", ["<f8", ">i4", "?", "<c16", "S5", "<U3", "<M8[ns]"])
def test_arrays_keep_dtype_and_shape(dtype: str, count: int) -> None:
    array = np.zeros((count, 2), dtype)
    back = decode_body(encode_body({"a": array}))["a"]
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert (back == array).all()


def test_a_large_array_is_sent_and_received_without_a_copy() -> None:
    array = np.arange(LARGE, dtype=np.float64)
    frames = encode_body([array])
    assert np.shares_memory(np.frombuffer(frames[1], np.float64), array)
    assert np.shares_memory(decode_body(frames)[0], array)


def test_an_array_of_another_order_arrives_in_order() -> None:
    array = np.arange(12.0).reshape(3, 4).T
    assert (decode_body(encode_body(array)) == array).all()


def test_numpy_scalars_and_dataclasses_become_plain() -> None:
    @dataclasses.dataclass
    class Point:
        x: float
        y: list[int]

    assert decode_body(encode_body([np.float32(0.5), np.int64(3), Point(1.0, [2])])) == [0.5, 3, {"x": 1.0, "y": [2]}]


@pytest.mark.parametrize(
    ("value", "path", "kind"),
    [
        ({"a": [1, {"b": {1, 2}}]}, "a[1].b", "set"),
        ({"lock": threading.Lock()}, "lock", "lock"),
        (object(), "", "object"),
        ({"n": 2**70}, "n", "int"),
        ({"when": datetime.datetime(2026, 1, 1)}, "when", "datetime"),
        ({"text": "\ud800"}, "text", "str"),
        ({"o": np.array([object()])}, "o", "ndarray"),
    ],
)
def test_what_cannot_be_sent_is_named(value: object, path: str, kind: str) -> None:
    with pytest.raises(EncodeError) as caught:
        encode_body(value)
    assert caught.value.path == path
    assert caught.value.type_name == kind
    assert path in str(caught.value)


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(EncodeError, match="contains itself"):
        encode_body({"a": loop})


def test_a_key_that_cannot_be_sent_is_named() -> None:
    with pytest.raises(EncodeError, match="key"):
        encode_body({"a": {frozenset({1}): 2}})
