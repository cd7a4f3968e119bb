"""ZMTP as bytes: any cut gives the same messages, what we send is what libzmq sends, and nonsense is said to be that."""

from __future__ import annotations

import contextlib
from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maitred.transport.frames import TooManyFrames
from maitred.transport.zmtp import GREETING, READY, Conversation, HandshakeRefused, ZmtpError, encode

MAX_FRAME, MAX_FRAMES = 100_000, 5

SIZES = st.sampled_from([0, 1, 2, 254, 255, 256, 257, 8191, 8192, 8193, 70_000])
FRAMES = SIZES.map(lambda size: bytes(range(256)) * (size // 256) + bytes(size % 256))
MESSAGES = st.lists(st.lists(FRAMES, min_size=1, max_size=MAX_FRAMES), max_size=4)


class Peer:
    """A conversation, fed like a connection would."""

    def __init__(self, introduced: bool = True) -> None:
        self.arrived: deque[Any] = deque()
        self.it = Conversation(MAX_FRAME, MAX_FRAMES, self.arrived)
        if introduced:
            self.hear(GREETING + READY)
            assert self.it.ready
            self.it.answers.clear()

    def hear(self, data: bytes, cuts: list[int] | None = None) -> None:
        at = 0
        for size in [*(cuts or []), len(data)]:
            end = min(len(data), at + size)
            while at < end:
                room = self.it.room()
                if room is None:
                    self.it.feed(data[at:end])
                    at = end
                else:
                    count = min(len(room), end - at)
                    room[:count] = data[at : at + count]
                    self.it.filled(count)
                    at += count

    def messages(self) -> list[Any]:
        return [
            message if isinstance(message, TooManyFrames) else [bytes(frame) for frame in message]
            for message in self.arrived
        ]


def on_the_wire(messages: list[list[bytes]]) -> bytes:
    return b"".join(bytes(buffer) for message in messages for buffer in encode(message))


@given(MESSAGES, st.lists(st.integers(1, 9000), max_size=50))
def test_any_cut_gives_the_same_messages(messages, cuts):
    peer = Peer(introduced=False)
    peer.hear(GREETING + READY + on_the_wire(messages), cuts)
    assert peer.messages() == messages


@given(st.lists(FRAMES, min_size=1, max_size=MAX_FRAMES))
def test_large_frames_are_not_copied_and_small_ones_joined(frames):
    buffers = encode(frames)
    for frame in frames:
        assert len(frame) < 8192 or any(buffer is frame for buffer in buffers)
    assert len(buffers) <= 2 * sum(len(frame) >= 8192 for frame in frames) + 1


def test_buffers_of_any_kind_are_measured_in_bytes():
    numbers = memoryview(bytes(8000)).cast("d")
    peer = Peer()
    peer.hear(on_the_wire([[b"x", numbers, bytearray(b"yy"), memoryview(bytes(9000)).cast("I")]]))
    assert peer.messages() == [[b"x", bytes(8000), b"yy", bytes(9000)]]


@given(st.binary(max_size=300))
def test_nonsense_is_said_to_be_that(data):
    for introduced in (False, True):
        peer = Peer(introduced)
        with contextlib.suppress(ZmtpError):
            peer.hear(data)
        assert sum(len(frame) for message in peer.messages() if isinstance(message, list) for frame in message) <= len(
            data
        )


@given(MESSAGES, st.integers(0, 400), st.integers(0, 7))
def test_a_flipped_bit_never_ends_in_another_error(messages, place, bit):
    data = bytearray(on_the_wire(messages)[:400])
    if data:
        data[place % len(data)] ^= 1 << bit
    peer = Peer()
    with contextlib.suppress(ZmtpError):
        peer.hear(bytes(data))


def test_more_frames_than_allowed_are_thrown_away_and_the_next_message_is_whole():
    peer = Peer()
    peer.hear(on_the_wire([[b"a", b"b"], [b"first"] + [b"x"] * 40, [b"c"]]))
    before, overlong, after = peer.messages()
    assert (before, after) == ([b"a", b"b"], [b"c"])
    assert (overlong.first, overlong.frames) == (b"first", 41)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x01\x02\x03", "ZMTP/3"),
        (b"\xff" + bytes(8) + b"\x00", "ZMTP/3"),
        (GREETING[:10] + b"\x01" + GREETING[11:], "ZMTP/3"),
        (GREETING + b"\x00\x01x", "before READY"),
        (GREETING + b"\x04\x05\x04PING", "before READY"),
        (GREETING + READY + b"\x05\x01x", "flags"),
        (GREETING + READY + b"\x08\x01x", "flags"),
        (GREETING + READY + b"\x06" + (5000).to_bytes(8, "big"), "command of 5000"),
        (GREETING + READY + b"\x02" + (MAX_FRAME + 1).to_bytes(8, "big"), "at most 100000"),
    ],
)
def test_what_may_not_come_ends_the_connection(data, why):
    with pytest.raises(ZmtpError, match=why):
        Peer(introduced=False).hear(data)


def test_a_refusal_says_its_status():
    for status in (b"400", b"300"):
        with pytest.raises(HandshakeRefused) as caught:
            Peer(introduced=False).hear(GREETING + b"\x04\x0a\x05ERROR\x03" + status)
        assert caught.value.status == status.decode()
    with pytest.raises(HandshakeRefused) as caught:
        Peer(introduced=False).hear(GREETING.replace(b"NULL\0", b"CURVE"))
    assert caught.value.status == "mechanism"


def test_pings_are_answered_with_their_context_and_other_commands_are_not():
    peer = Peer()
    peer.hear(b"\x04\x09\x04PING\x00\x64ab" + b"\x04\x07\x04PING\x00\x64" + b"\x04\x05\x04PONG" + b"\x04\x06\x05OTHER")
    assert peer.it.answers == [b"\x04\x07\x04PONGab", b"\x04\x05\x04PONG"]
    assert peer.messages() == []
