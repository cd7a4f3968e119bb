"""`docs/protocol-vectors.json`: the bytes that other implementations check themselves with, checked against ours.

The file is literal, so that an accidental change of the encoding fails here. After a wanted one, or for a new entry
(with "frames": []), `python tests/protocol/test_vectors.py --write` makes the frames anew from what they mean; read the
difference before it is committed. Entries that are accepted or invalid are written by hand and stay as they are.
"""

from __future__ import annotations

import datetime
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest
from msgspec import structs

from maitred.protocol import frames, messages
from maitred.protocol import majordomo as wire
from maitred.protocol.body import decode_body, encode_body
from maitred.protocol.bundles import first_of, opened
from maitred.protocol.errors import Code, DecodeError, MaitredError, ProtocolError, from_wire

FILE = Path(__file__).parents[2] / "docs" / "protocol-vectors.json"
VECTORS: dict[str, list[dict[str, Any]]] = json.loads(FILE.read_text())
DECODERS: dict[str, frames.Decoder[Any]] = {
    "client to broker": frames.from_client,
    "broker to client": frames.to_client,
    "worker or agent to broker": frames.from_worker,
    "broker to worker or agent": frames.to_worker,
}
UNIONS = {
    "client to broker": messages.FromClient,
    "broker to client": messages.ToClient,
    "worker or agent to broker": messages.FromWorker,
    "broker to worker or agent": messages.ToWorker,
}
RUN = re.compile(rb"(.)\1{63,}", re.DOTALL)
"""A run of equal bytes that is worth writing as a repetition."""


# --- between JSON and bytes ---


def read_frame(written: str | list[Any]) -> bytes:
    if isinstance(written, str):
        return bytes.fromhex(written)
    return b"".join(bytes.fromhex(text) * times for text, times in written)


def write_frame(raw: bytes) -> str | list[Any]:
    pieces: list[Any] = []
    end = 0
    for run in RUN.finditer(raw):
        if run.start() > end:
            pieces.append([raw[end : run.start()].hex(), 1])
        pieces.append([run[1].hex(), len(run[0])])
        end = run.end()
    if not pieces:
        return raw.hex()
    return pieces + ([[raw[end:].hex(), 1]] if end < len(raw) else [])


def read_frames(vector: dict[str, Any]) -> list[bytes]:
    return [read_frame(frame) for frame in vector["frames"]]


def meaning(value: Any) -> Any:
    """A decoded value, or a message's field, as the file writes it."""
    match value:
        case messages.Certificate():
            return {key: meaning(item) for key, item in structs.asdict(value).items() if item is not None}
        case messages.CommandInfo() | messages.Position():
            return structs.asdict(value)
        case messages.WorkerState():
            return {key: meaning(item) for key, item in structs.asdict(value).items()}
        case bytes():
            return {"$bytes": write_frame(value)}
        case datetime.datetime():
            return {"$timestamp": value.isoformat()}
        case float() if not math.isfinite(value):
            return {"$float": str(value)}
        case numpy.ndarray():
            data = {"dtype": value.dtype.str, "shape": list(value.shape), "data": write_frame(value.tobytes())}
            return {"$array": data}
        case list() | tuple():
            return [meaning(item) for item in value]
        case dict() if all(isinstance(key, str) for key in value):
            return {key: meaning(item) for key, item in value.items()}
        case dict():
            return {"$map": [[meaning(key), meaning(item)] for key, item in value.items()]}
        case _:
            return value


def value_of(written: Any) -> Any:
    """The way back."""
    match written:
        case {"$bytes": frame}:
            return read_frame(frame)
        case {"$timestamp": text}:
            return datetime.datetime.fromisoformat(text)
        case {"$float": text}:
            return float(text)
        case {"$array": {"dtype": dtype, "shape": shape, "data": data}}:
            return numpy.frombuffer(read_frame(data), dtype).reshape(shape)
        case {"$map": pairs}:
            return {value_of(key): value_of(item) for key, item in pairs}
        case dict():
            return {key: value_of(item) for key, item in written.items()}
        case list():
            return [value_of(item) for item in written]
        case _:
            return written


def message_of(vector: dict[str, Any]) -> messages.Message:
    fields = value_of(vector["fields"])
    if "commands" in fields:
        fields["commands"] = [messages.CommandInfo(**command) for command in fields["commands"]]
    if "certificate" in fields:
        fields["certificate"] = messages.Certificate(**fields["certificate"])
    if vector["type"] == "Dispatch" and fields["trace"] is not None:
        fields["trace"] = messages.Position(**fields["trace"])
    if vector["type"] == "Report":
        fields["workers"] = [messages.WorkerState(**worker) for worker in fields["workers"]]
    return getattr(messages, vector["type"])(**fields)


def fields_of(message: messages.Message) -> dict[str, Any]:
    return {name: meaning(getattr(message, name)) for name in message.__struct_fields__}


def same(one: Any, other: Any) -> bool:
    """Equal, with 1, 1.0 and true told apart."""
    return json.dumps(one) == json.dumps(other)


def name_of(vector: dict[str, Any]) -> str:
    return str(vector.get("about") or vector.get("reason") or f"{vector.get('direction')}: {vector.get('type')}")


def every(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", VECTORS[kind], ids=name_of)


# --- messages ---


@every("messages")
def test_a_message_means_its_fields_and_is_encoded_so(vector: dict[str, Any]) -> None:
    raw = read_frames(vector)
    message, body = DECODERS[vector["direction"]].decode(raw)
    assert type(message).__name__ == vector["type"]
    assert same(fields_of(message), vector["fields"])
    assert frames.encode(message, body) == raw
    assert ("body" in vector) == bool(body)
    if body:
        assert same(meaning(decode_body(body)), vector["body"])
        assert encode_body(value_of(vector["body"])) == list(body)


@every("accepted_messages")
def test_another_senders_bytes_are_accepted(vector: dict[str, Any]) -> None:
    message, _ = DECODERS[vector["direction"]].decode(read_frames(vector))
    assert type(message).__name__ == vector["type"]
    assert same(fields_of(message), vector["fields"])


@every("invalid_messages")
def test_an_invalid_message_is_refused_for_its_reason(vector: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError, match=re.escape(vector["error"])):
        DECODERS[vector["direction"]].decode(read_frames(vector))


@every("bundles")
def test_a_bundle_holds_its_messages_and_is_made_so(vector: dict[str, Any]) -> None:
    raw, inside = read_frames(vector), [[read_frame(frame) for frame in one] for one in vector["inside"]]
    assert opened(raw) == inside
    assert first_of(inside) == (raw, len(inside))
    for one in inside:
        DECODERS[vector["direction"]].decode(one)


@every("invalid_bundles")
def test_an_invalid_bundle_is_refused_whole(vector: dict[str, Any]) -> None:
    raw = read_frames(vector)
    assert opened(raw) is None
    with pytest.raises(ProtocolError, match=re.escape(vector["error"])):
        DECODERS[vector["direction"]].decode(raw)


def test_every_message_is_there_in_each_of_its_directions() -> None:
    there = {(vector["direction"], vector["type"]) for vector in VECTORS["messages"]}
    assert there == {(direction, kind.__name__) for direction, union in UNIONS.items() for kind in union.__args__}


def test_every_error_code_is_there_and_becomes_its_exception() -> None:
    answers = [vector for vector in VECTORS["messages"] if vector["type"] == "Error"]
    assert {vector["fields"]["code"] for vector in answers} == {str(code) for code in Code}
    for vector in answers:
        error = from_wire(vector["fields"]["code"], vector["fields"]["message"], vector["body"])
        assert type(error) is not MaitredError
        assert error.code == vector["fields"]["code"]


# --- bodies ---


@every("bodies")
def test_a_body_means_its_value_and_is_encoded_so(vector: dict[str, Any]) -> None:
    raw = read_frames(vector)
    assert same(meaning(decode_body(raw)), vector["value"])
    assert [bytes(frame) for frame in encode_body(value_of(vector["value"]))] == raw


@every("accepted_bodies")
def test_another_senders_body_is_accepted(vector: dict[str, Any]) -> None:
    assert same(meaning(decode_body(read_frames(vector))), vector["value"])


@every("invalid_bodies")
def test_an_invalid_body_is_refused_for_its_reason(vector: dict[str, Any]) -> None:
    with pytest.raises(DecodeError, match=re.escape(vector["error"])):
        decode_body(read_frames(vector))


# --- Majordomo ---

ROLES = {
    "client": "decode",
    "worker": "decode",
    "broker to client": "decode_answer",
    "broker to worker": "decode_order",
}
"""What is read by which function of `protocol.majordomo`."""


def majordomo_of(vector: dict[str, Any]) -> Any:
    """The message as the code has it."""
    form = wire.Form(vector["version"], vector["delimiter"])
    body = [read_frame(frame) for frame in vector.get("body", ())]
    final = vector["command"] != "PARTIAL"
    match vector["role"], vector["command"]:
        case "client", "REQUEST":
            return wire.Call(form, vector["service"], body)
        case "broker to client", _:
            return wire.Answer(form, vector["service"], body, final)
        case "broker to worker", "REQUEST":
            return wire.Order(form, read_frame(vector["address"]), body)
        case _, "READY":
            return wire.Ready(form, vector["service"])
        case _, "HEARTBEAT":
            return wire.Heartbeat(form)
        case _, "DISCONNECT":
            return wire.Disconnect(form)
        case _:
            return wire.Result(form, read_frame(vector["address"]), body, final)


def majordomo_name(vector: dict[str, Any]) -> str:
    what = vector.get("reason") or f"{vector['command']} {vector['version']} {vector['delimiter']}"
    return f"{vector['role']}: {what}"


@pytest.mark.parametrize("vector", VECTORS["majordomo"], ids=majordomo_name)
def test_a_majordomo_message_means_what_it_says_and_is_encoded_so(vector: dict[str, Any]) -> None:
    message = majordomo_of(vector)
    assert getattr(wire, ROLES[vector["role"]])(read_frames(vector)) == message
    assert [bytes(frame) for frame in wire.encode(message)] == read_frames(vector)


@pytest.mark.parametrize("vector", VECTORS["invalid_majordomo"], ids=majordomo_name)
def test_an_invalid_majordomo_message_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        getattr(wire, ROLES[vector["role"]])(read_frames(vector))


def test_both_versions_of_majordomo_have_each_of_their_commands() -> None:
    there = {(vector["role"], vector["version"], vector["command"]) for vector in VECTORS["majordomo"]}
    both = {(role, version, "REQUEST") for role in ("client", "broker to worker") for version in (1, 2)}
    both |= {("worker", version, "READY") for version in (1, 2)}
    both |= {
        (role, version, command)
        for role in ("worker", "broker to worker")
        for version in (1, 2)
        for command in ("HEARTBEAT", "DISCONNECT")
    }
    answers = ((1, "REPLY"), (2, "PARTIAL"), (2, "FINAL"))
    assert there == both | {(role, *answer) for role in ("worker", "broker to client") for answer in answers}


# --- writing ---


def written_anew(vectors: dict[str, Any]) -> str:
    for vector in vectors["messages"]:
        body = encode_body(value_of(vector["body"])) if "body" in vector else []
        vector["frames"] = [write_frame(bytes(frame)) for frame in frames.encode(message_of(vector), body)]
    for vector in vectors["bodies"]:
        vector["frames"] = [write_frame(bytes(frame)) for frame in encode_body(value_of(vector["value"]))]
    groups = (
        f"{json.dumps(name)}: {json.dumps(entries)}" if isinstance(entries, str) else _group(name, entries)
        for name, entries in vectors.items()
    )
    return "{\n" + ",\n".join(groups) + "\n}\n"


def _group(name: str, entries: list[Any]) -> str:
    return json.dumps(name) + ": [\n" + ",\n".join("  " + json.dumps(entry) for entry in entries) + "\n]"


def test_the_file_is_as_it_would_be_written() -> None:
    text = FILE.read_text()
    assert written_anew(json.loads(text)) == text


if __name__ == "__main__" and sys.argv[1:] == ["--write"]:
    FILE.write_text(written_anew(json.loads(FILE.read_text())))
