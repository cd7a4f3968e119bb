"""Bundles: what goes in comes out, in order; what is broken spoils nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maitred.protocol import frames, limits
from maitred.protocol import messages as m
from maitred.protocol.bundles import first_of, fits, opened
from maitred.protocol.errors import ProtocolError

ID = b"i" * 16
LARGE = limits.MAX_BUNDLED_BYTES + 1
DECODERS = [frames.from_client, frames.from_worker, frames.to_client, frames.to_worker]

BODIES = st.one_of(
    st.just([]),
    st.binary(max_size=300).map(lambda body: [body]),
    st.just([b"x" * LARGE]),
    st.just([b"x" * (LARGE - 200)]),
    st.just([b"a", b"b"]),
    st.just([memoryview(b"a view")]),
)
MESSAGES = st.builds(
    lambda number, body: frames.encode(m.Reply(number) if body else m.Cancel(number), body), st.integers(0, 9), BODIES
)


def sent(waiting: Sequence[frames.Frames]) -> list[frames.Frames]:
    """What leaves where these wait."""
    left, leaving = list(waiting), []
    while left:
        message, count = first_of(left)
        leaving.append(message)
        del left[:count]
    return leaving


def received(messages: Sequence[frames.Frames]) -> list[frames.Frames]:
    return [one for message in messages for one in opened(message) or [message]]


@given(st.lists(MESSAGES, max_size=200))
def test_any_messages_come_out_in_order_and_whole(waiting: list[frames.Frames]) -> None:
    leaving = sent(waiting)
    assert received(leaving) == waiting
    for message in leaving:
        if (inside := opened(message)) is not None:
            assert 2 <= len(inside) <= limits.MAX_BUNDLE_MESSAGES
            assert len(message) == 1
            assert len(message[0]) <= limits.MAX_HEADER_BYTES
            assert all(fits(one) for one in inside)


@given(st.lists(st.binary(min_size=1, max_size=3900), min_size=2, max_size=64))
def test_small_messages_leave_in_as_few_as_hold_them(bodies: list[bytes]) -> None:
    waiting = [frames.encode(m.Reply(number), [body]) for number, body in enumerate(bodies)]
    size = sum(len(header) + len(body) for header, body in waiting)
    leaving = sent(waiting)
    assert received(leaving) == waiting
    assert len(leaving) <= size // (limits.MAX_HEADER_BYTES - 2 * limits.MAX_BUNDLED_BYTES) + 1


def test_a_message_alone_is_sent_as_it_is() -> None:
    message = frames.encode(m.Reply(1), [b"\xc0"])
    assert first_of([message]) == (message, 1)
    assert first_of([message, frames.encode(m.Reply(2), [b"x" * LARGE])]) == (message, 1)


def test_an_empty_body_is_not_taken_for_none() -> None:
    waiting = [frames.encode(m.Reply(n), [b""]) for n in range(2)]
    assert received(sent(waiting)) == waiting


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=20), st.sampled_from(DECODERS))
def test_any_frames_inside_are_messages_or_protocol_errors_one_by_one(
    inside: list[bytes], decoder: frames.Decoder[Any]
) -> None:
    good = frames.encode(m.Heartbeat())[0]
    pairs = [good, b"", *(frame for one in inside for frame in (one, b"")), good, b""]
    messages = opened([frames.MAGIC + msgpack.packb([3, pairs])])
    assert messages is not None
    assert len(messages) == len(inside) + 2
    understood = list(filter(None, (decoded(decoder, one) for one in messages)))
    assert understood[0] == understood[-1] == m.Heartbeat()


def decoded(decoder: frames.Decoder[Any], message: frames.Frames) -> Any:
    try:
        return decoder.decode(message)[0]
    except ProtocolError:
        return None


@given(data=st.data(), decoder=st.sampled_from(DECODERS))
def test_a_mutilated_bundle_is_opened_or_refused_by_every_decoder(
    data: st.DataObject, decoder: frames.Decoder[Any]
) -> None:
    whole, _ = first_of([frames.encode(m.Cancel(n)) for n in range(3)])
    raw = bytearray(whole[0])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw)))
        raw[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    for message in opened([bytes(raw)]) or [[bytes(raw)]]:
        decoded(decoder, message)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_bundle_in_a_bundle_is_refused_and_its_neighbours_are_not(decoder: frames.Decoder[Any]) -> None:
    beat = frames.encode(m.Heartbeat())
    inner, _ = first_of([beat, beat])
    before, nested, after = opened(frames.encode(m.Bundle([beat[0], b"", inner[0], b"", beat[0], b""]))) or []
    assert decoder.decode(before)[0] == decoder.decode(after)[0] == m.Heartbeat()
    with pytest.raises(ProtocolError, match="in another one"):
        decoder.decode(nested)


def test_later_versions_may_add_fields() -> None:
    beat = frames.encode(m.Heartbeat())
    assert opened([frames.MAGIC + msgpack.packb([3, [beat[0], b""], "later"])]) == [beat]


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"MT\x01",
        b"MT\x02\x92\x03\x90",
        frames.MAGIC + msgpack.packb([3, [b"x"] * (2 * limits.MAX_BUNDLE_MESSAGES + 2)]),
        frames.MAGIC + msgpack.packb([3, [b"x" * limits.MAX_HEADER_BYTES, b""]]),
    ],
)
def test_what_is_no_bundle_or_too_much_of_one_is_not_opened(header: bytes) -> None:
    assert opened([header]) is None
