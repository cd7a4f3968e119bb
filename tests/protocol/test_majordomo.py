"""Majordomo's protocol on the wire: the frames that RFC 7 and RFC 18 draw, and whatever else may come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maitred.protocol import limits
from maitred.protocol import majordomo as wire
from maitred.protocol.errors import ProtocolError

V1, V2 = wire.Form(1), wire.Form(2, delimiter=False)

DRAWN = [
    (wire.Call(V1, "echo", [b"a", b"b"]), [b"", b"MDPC01", b"echo", b"a", b"b"]),
    (wire.Call(V2, "echo", [b"a"]), [b"MDPC02", b"\x01", b"echo", b"a"]),
    (wire.Ready(V1, "echo"), [b"", b"MDPW01", b"\x01", b"echo"]),
    (wire.Ready(V2, "echo"), [b"MDPW02", b"\x01", b"echo"]),
    (wire.Result(V1, b"\x00id", [b"r"]), [b"", b"MDPW01", b"\x03", b"\x00id", b"", b"r"]),
    (wire.Result(V2, b"\x00id", [b"r"], final=False), [b"MDPW02", b"\x03", b"\x00id", b"", b"r"]),
    (wire.Result(V2, b"\x00id", [b"r"]), [b"MDPW02", b"\x04", b"\x00id", b"", b"r"]),
    (wire.Heartbeat(V1), [b"", b"MDPW01", b"\x04"]),
    (wire.Heartbeat(V2), [b"MDPW02", b"\x05"]),
    (wire.Disconnect(V1), [b"", b"MDPW01", b"\x05"]),
    (wire.Disconnect(V2), [b"MDPW02", b"\x06"]),
]
ANSWERS = [
    (wire.Answer(V1, "echo", [b"r"]), [b"", b"MDPC01", b"echo", b"r"]),
    (wire.Answer(V2, "echo", [b"r"], final=False), [b"MDPC02", b"\x02", b"echo", b"r"]),
    (wire.Answer(V2, "echo", [b"r"]), [b"MDPC02", b"\x03", b"echo", b"r"]),
]
ORDERS = [
    (wire.Order(V1, b"\x00id", [b"a", b"b"]), [b"", b"MDPW01", b"\x02", b"\x00id", b"", b"a", b"b"]),
    (wire.Order(V2, b"\x00id", []), [b"MDPW02", b"\x02", b"\x00id", b""]),
    (wire.Heartbeat(V2), [b"MDPW02", b"\x05"]),
    (wire.Disconnect(V1), [b"", b"MDPW01", b"\x05"]),
]


@pytest.mark.parametrize(("message", "frames"), DRAWN)
def test_what_a_broker_receives(message: wire.FromPeer, frames: list[bytes]) -> None:
    assert wire.encode(message) == frames
    assert wire.decode(frames) == message
    assert wire.is_majordomo(frames)


@pytest.mark.parametrize(("message", "frames"), ANSWERS)
def test_what_a_client_receives(message: wire.Answer, frames: list[bytes]) -> None:
    assert wire.encode(message) == frames
    assert wire.decode_answer(frames) == message


@pytest.mark.parametrize(("message", "frames"), ORDERS)
def test_what_a_worker_receives(message: wire.Order, frames: list[bytes]) -> None:
    assert wire.encode(message) == frames
    assert wire.decode_order(frames) == message


def test_the_empty_frame_may_be_there_or_not_in_either_version() -> None:
    for message, frames in DRAWN:
        other = frames[1:] if frames[0] == b"" else [b"", *frames]
        found = wire.decode(other)
        assert found.form == wire.Form(message.form.version, not message.form.delimiter)
        assert wire.encode(found) == other


def test_clients_that_number_as_workers_do() -> None:
    form = wire.Form(2, as_workers=True)
    frames = [b"", b"MDPC02", b"\x02", b"echo", b"a"]
    assert wire.decode(frames) == wire.Call(form, "echo", [b"a"])
    assert wire.encode(wire.Call(form, "echo", [b"a"])) == frames
    for final, number in ((False, b"\x03"), (True, b"\x04")):
        told = [b"", b"MDPC02", number, b"r"]
        assert wire.encode(wire.Answer(form, "echo", [b"r"], final)) == told
        assert wire.decode_answer(told, as_workers=True) == wire.Answer(form, "", [b"r"], final)


@pytest.mark.parametrize(
    ("frames", "text"),
    [
        ([], "no role and version"),
        ([b""], "no role and version"),
        ([b"", b"", b"MDPC01", b"echo"], "no role and version"),
        ([b"MDPC03", b"\x01", b"echo"], "no role and version"),
        ([b"mdpc01", b"echo"], "no role and version"),
        ([b"MDPC01 ", b"echo"], "no role and version"),
        ([b"MDPC01"], "without a service"),
        ([b"MDPC01", b""], "1 to 128 characters"),
        ([b"MDPC01", b"\xff"], "UTF-8"),
        ([b"MDPC01", b"x" * 129], "129 characters"),
        ([b"MDPC01", "ü".encode() * 128 + b"xx" * 200], "bytes"),
        ([b"MDPC02", b"\x03", b"echo"], "does not send command 03"),
        ([b"MDPC02", b""], "one byte"),
        ([b"MDPC02"], "without a command"),
        ([b"MDPW01", b"\x02", b"a", b"", b"x"], "goes this way"),
        ([b"MDPW01", b"\x06"], "goes this way"),
        ([b"MDPW01", b"\x01", b"echo", b"x"], "READY of 2 frames"),
        ([b"MDPW01", b"\x04", b"x"], "HEARTBEAT has no frames"),
        ([b"MDPW02", b"\x06", b"x"], "DISCONNECT has no frames"),
        ([b"MDPW02", b"\x04", b"a"], "an empty one after it"),
        ([b"MDPW02", b"\x04", b"a", b"b"], "an empty one after it"),
        ([b"MDPW02", b"\x04", b"", b""], "1 to 255"),
        ([b"MDPW02", b"\x04", b"a" * 256, b""], "1 to 255"),
        ([b"MDPC01", b"echo", *[b""] * (limits.MAX_FRAMES - 1)], "at most 64"),
    ],
)
def test_what_is_wrong_is_said(frames: list[bytes], text: str) -> None:
    with pytest.raises(ProtocolError, match=text):
        wire.decode(frames)


def test_a_service_of_the_longest_name() -> None:
    name = "ü" * limits.MAX_NAME_CHARS
    assert wire.decode([b"MDPC01", name.encode()]) == wire.Call(wire.Form(1, delimiter=False), name, [])


def test_what_is_ours_is_not_taken_for_theirs() -> None:
    for frames in ([b"MT\x01\x91\x01"], [b"MT\x01\x92\x0c\x05"], [b"", b"MT\x01"], [b"", b""], [b""], []):
        assert not wire.is_majordomo(frames)


pieces = st.sampled_from([b"", b"MDPC01", b"MDPC02", b"MDPW01", b"MDPW02", b"echo", *(bytes([n]) for n in range(8))])


@given(st.lists(pieces | st.binary(max_size=300), max_size=70))
def test_every_decoder_reads_it_or_raises_its_own_error(frames: list[bytes]) -> None:
    for decode in (wire.decode, wire.decode_answer, wire.decode_order):
        try:
            message = decode(frames)
        except ProtocolError:
            pass
        else:
            assert wire.encode(message) == frames
