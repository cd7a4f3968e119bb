"""What is fuzzed: each takes any bytes and raises only what its documentation says, and makes nothing much larger of them.

Several frames are written as one input: the number of frames (one byte), then each as its length (two bytes) and its
bytes; the last one is whatever is left.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from maitred.config import Hardware, load
from maitred.config.authorized import AuthorizedError, read_authorized
from maitred.config.key_file import KeyFileError, read_key
from maitred.config.problems import ConfigError
from maitred.protocol import frames
from maitred.protocol.body import decode_body
from maitred.protocol.bundles import opened
from maitred.protocol.errors import DecodeError, ProtocolError

MAX_FRAMES = 80
"""Some more than a message may have."""

GROWTH = 150
"""Bytes of objects that one byte of input may become: an empty map is one byte, and 64 with 8 where it is referred to; a
dictionary doubles its table ahead of its content."""

FIXED_BYTES = 4096
"""Of objects whatever the input: those of the message itself."""


def split(data: bytes) -> list[bytes]:
    """The frames of an input."""
    found: list[bytes] = []
    count = data[0] % MAX_FRAMES if data else 0
    at = 1
    for _ in range(count - 1):
        size = int.from_bytes(data[at : at + 2], "big")
        found.append(data[at + 2 : at + 2 + size])
        at += 2 + size
    return [*found, data[at:]] if count else found


def joined(message: Sequence[bytes]) -> bytes:
    """The input that has these frames."""
    if not message:
        return b"\x00"
    head = b"".join(len(frame).to_bytes(2, "big") + frame for frame in message[:-1])
    return bytes([len(message)]) + head + message[-1]


def header(decoder: frames.Decoder[Any], data: bytes) -> None:
    """The header of a message, in one of four directions."""
    message = split(data)
    with contextlib.suppress(ProtocolError):
        decoded, body = decoder.decode(message)
        assert list(body) == message[1:]
        assert_small(decoded, len(message[0]))
        again, _ = decoder.decode(frames.encode(decoded, body))
        assert again == decoded, "what was decoded is encoded to something else"


def bundle(data: bytes) -> None:
    """A bundle: opened to whole messages, or none."""
    for message in opened(split(data)) or ():
        assert 1 <= len(message) <= 2
        assert all(type(frame) is bytes for frame in message)
        for decoder in (frames.from_client, frames.from_worker):
            with contextlib.suppress(ProtocolError):
                decoder.decode(message)


def body(data: bytes) -> None:
    """A body, which may refer to buffers in further frames."""
    message = split(data)
    with contextlib.suppress(DecodeError):
        assert_small(decode_body(message), sum(map(len, message)))


def majordomo(data: bytes) -> None:
    """Majordomo's protocol, as clients and workers speak it and as the broker does."""
    from maitred.protocol import majordomo as mdp

    message = split(data)
    mdp.is_majordomo(message)
    mdp.speaker(message)
    for decode in (mdp.decode, mdp.decode_answer, mdp.decode_order):
        with contextlib.suppress(ProtocolError):
            assert_small(decode(message), sum(map(len, message)))
    with contextlib.suppress(ProtocolError):
        decoded = mdp.decode(message)
        assert mdp.decode(mdp.encode(decoded)) == decoded, "what was decoded is encoded to something else"


def zap(data: bytes) -> None:
    """Questions of libzmq to the handler of handshakes: one answer at most, of eight frames; who is let in has a name."""
    from maitred.transport.zap import Verdict, ZapHandler

    answers: list[list[bytes]] = []

    class Pump:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        def send(self, _index: int, answer: list[bytes]) -> None:
            answers.append(answer)

    def decide(domain: str, address: str, mechanism: str, _shown: Sequence[bytes]) -> Verdict:
        return Verdict(200, f"{domain}{address}") if mechanism == "NULL" else Verdict(400, text=mechanism)

    handler: Any = ZapHandler(None, decide, Pump)  # pyright: ignore[reportArgumentType]
    question = split(data)
    handler._receive(0, question)
    assert len(answers) <= 1
    for answer in answers:
        assert len(answer) == 8
        assert answer[:2] == question[:2]
        assert answer[4] in (b"200", b"300", b"400", b"500")
        assert (answer[4] == b"200") == bool(answer[6])


def configuration(data: bytes) -> None:
    """A configuration file."""
    with contextlib.suppress(ConfigError):
        load(written(data), environ={}, hardware=Hardware(8, 0))


def authorisation(data: bytes) -> None:
    """The file that says whose keys may do what."""
    with contextlib.suppress(AuthorizedError):
        for entry in read_authorized(written(data)):
            assert entry.name


def key(data: bytes) -> None:
    """A file of a key, as a broker and as others have it."""
    for needs_server in (True, False):
        with contextlib.suppress(KeyFileError):
            read_key(written(data), needs_server=needs_server)


HARNESSES: dict[str, Callable[[bytes], None]] = {
    "from_client": functools.partial(header, frames.from_client),
    "to_client": functools.partial(header, frames.to_client),
    "from_worker": functools.partial(header, frames.from_worker),
    "to_worker": functools.partial(header, frames.to_worker),
    "bundle": bundle,
    "body": body,
    "majordomo": majordomo,
    "zap": zap,
    "configuration": configuration,
    "authorisation": authorisation,
    "key": key,
}


@functools.cache
def _place() -> Path:
    """A file in memory, where there is such a thing."""
    directory = "/dev/shm" if os.path.isdir("/dev/shm") else os.environ.get("TMPDIR", "/tmp")
    path = Path(directory, f"maitred-fuzz-{os.getpid()}.toml")
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    return path


def written(data: bytes) -> Path:
    """A file with that content, which only this user may read."""
    path = _place()
    path.write_bytes(data)
    return path


def clean_up() -> None:
    """Remove the file of `written`."""
    if _place.cache_info().currsize:
        _place().unlink(missing_ok=True)
        _place.cache_clear()


def assert_small(value: Any, given: int) -> None:
    """What came of so many bytes takes no more than so many times as much."""
    taken, most = 0, GROWTH * given + FIXED_BYTES
    left = [value]
    while left:
        one = left.pop()
        taken += sys.getsizeof(one)
        assert taken <= most, f"{given} bytes became more than {most}"
        if isinstance(one, dict):
            left += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple):
            left += one
        elif isinstance(one, msgspec.Struct):
            left += [getattr(one, name) for name in one.__struct_fields__]
