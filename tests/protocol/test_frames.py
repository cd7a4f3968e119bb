"""Headers: whatever the bytes, decoding gives a message or `ProtocolError`, never anything else."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maitred.protocol import frames
from maitred.protocol import messages as m
from maitred.protocol.errors import ProtocolError

ID = b"i" * 16
DECODERS = [frames.from_client, frames.from_worker, frames.to_client, frames.to_worker]
WHOLE = [
    frames.encode(message)[0]
    for message in (
        m.Hello(ID, "software", "host", 3),
        m.Request(1, "pool", "command", 2.5, 3, True, 1),
        m.Register(ID, ID, "pool", 2, [m.CommandInfo("echo", True, True)], "host", 3, "software", [(ID, 3)]),
        m.Died(ID, m.Certificate("signal", "SIGKILL", 1, 2, 3.0, 4, "stderr", "worker", 5, "host"), [(ID, 1)]),
        m.WorkerError(ID, 1, 1, "internal", "message"),
        m.Welcome(ID, 1.0, 3, 5, "software"),
        m.Dispatch(ID, 1, 1, "command", 2.0, 1),
    )
]


@pytest.mark.parametrize("text", [b"\xff", b"\xed\xa0\x80", b"a\xc3"])
def test_text_that_is_not_utf8_is_refused_as_anything_else(text: bytes) -> None:
    header = b"MT\x01\x93\x0e\x01" + bytes([0xA0 + len(text)]) + text
    with pytest.raises(ProtocolError, match="utf-8"):
        frames.from_client.decode([header])


@pytest.mark.parametrize("decoder", DECODERS)
@given(data=st.data())
def test_a_mutilated_header_is_a_message_or_a_protocol_error(decoder: frames.Decoder[Any], data: st.DataObject) -> None:
    header = bytearray(data.draw(st.sampled_from(WHOLE)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(header) - 1))
        header[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
        header = header or bytearray(b"M")
    for body in ([], [b""]):
        with contextlib.suppress(ProtocolError):
            decoder.decode([bytes(header), *body])
