"""Where fuzzing begins: the published test vectors, a configuration, files of keys. Made anew for each run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harnesses import HARNESSES, joined

from maitred.config.loading import built_in_text

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[2] / "docs" / "protocol-vectors.json").read_text())
CORPUS = Path(__file__).with_name("corpus")
"""By harness: what has once broken something, for ever."""

MAX_SEED_BYTES = 4096
"""Longer ones only make each case slow."""

DIRECTIONS = {
    "client to broker": "from_client",
    "broker to client": "to_client",
    "worker or agent to broker": "from_worker",
    "broker to worker or agent": "to_worker",
}

KEY = 'public = "{0}"\nsecret = "{0}"\nserver = "{0}"\n'.format("0" * 40)
AUTHORISED = f"""[keys.alice]
public = "{"0" * 40}"
role = "client"
call = ["general", "neural:train_*"]
max_in_flight = 100
rate = 10.5
max_queued_bytes = "64MiB"

[keys."bob.agent"]
public = "{"1" * 40}"
role = "agent"
serve = ["*"]
"""

A_ROUTE = b"\x00\x01\x02\x03\x04"
QUESTION = [A_ROUTE, b"", b"1.0", b"1", b"clients", b"127.0.0.1", b""]


def seeds(harness: str) -> list[bytes]:
    """Inputs of a harness that are known to be worth something."""
    found = [path.read_bytes() for path in sorted((CORPUS / harness).glob("*"))]
    return [one for one in found + _made(harness) if len(one) <= MAX_SEED_BYTES]


def write(directory: Path, harness: str) -> None:
    """Write the seeds of a harness to files of a directory."""
    assert harness in HARNESSES
    for number, seed in enumerate(seeds(harness)):
        (directory / f"{number:04}").write_bytes(seed)


def _made(harness: str) -> list[bytes]:
    match harness:
        case "bundle":
            return [joined(it) for it in _frames("bundles", "invalid_bundles")]
        case "body":
            return [joined(it) for it in _frames("bodies", "accepted_bodies", "invalid_bodies")]
        case "majordomo":
            return [joined(it) for it in _majordomo()]
        case "zap":
            shown = ([b"NULL"], [b"CURVE", bytes(32)], [b"PLAIN", b"user", b"word"], [])
            return [joined([*QUESTION, *more]) for more in shown]
        case "configuration":
            return [built_in_text().encode(), b'[broker]\nclients = "tcp://127.0.0.1:0"\n[pools.x]\nadapter = "m:a"\n']
        case "authorisation":
            return [AUTHORISED.encode()]
        case "key":
            return [KEY.encode()]
        case _:
            kinds = ("messages", "accepted_messages", "invalid_messages")
            return [joined(it) for it in _frames(*kinds, direction=harness)]


def _frames(*kinds: str, direction: str | None = None) -> list[list[bytes]]:
    entries = [entry for kind in kinds for entry in VECTORS[kind]]
    return [
        [_bytes(frame) for frame in entry["frames"]]
        for entry in entries
        if direction is None or DIRECTIONS[entry["direction"]] == direction
    ]


def _bytes(written: str | list[Any]) -> bytes:
    if isinstance(written, str):
        return bytes.fromhex(written)
    return b"".join(bytes.fromhex(text) * times for text, times in written)


def _majordomo() -> list[list[bytes]]:
    address, body = b"\x00abcd", b"\x81\xa1a\x01"
    commands = [
        [b"MDPC01", b"echo", body],
        [b"MDPC02", b"\x01", b"echo", body],
        [b"MDPC02", b"\x02", b"echo", body],
        [b"MDPC02", b"\x03", b"echo", body],
        [b"MDPW01", b"\x01", b"echo"],
        [b"MDPW01", b"\x02", address, b"", body],
        [b"MDPW01", b"\x03", address, b"", body],
        [b"MDPW01", b"\x04"],
        [b"MDPW01", b"\x05"],
        [b"MDPW02", b"\x01", b"echo"],
        [b"MDPW02", b"\x03", address, b"", body],
        [b"MDPW02", b"\x04", address, b"", body],
        [b"MDPW02", b"\x05"],
        [b"MDPW02", b"\x06"],
    ]
    return [*commands, *([b"", *command] for command in commands)]
