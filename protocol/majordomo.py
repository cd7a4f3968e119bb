"""Majordomo's protocol as frames: MDP/0.1 (RFC 7) and MDP/0.2 (RFC 18), clients and workers. Pure; nothing is kept.

    [""] "MDPC01" service body…               REQUEST and REPLY of a client of 0.1
    [""] "MDPC02" number service body…        of 0.2: 1 REQUEST, 2 PARTIAL, 3 FINAL
    [""] "MDPW01" number …    a worker: 1 READY service · 2 REQUEST · 3 REPLY · 4 HEARTBEAT · 5 DISCONNECT
    [""] "MDPW02" number …    1 READY service · 2 REQUEST · 3 PARTIAL · 4 FINAL · 5 HEARTBEAT · 6 DISCONNECT

REQUEST and the answers of workers are address, "", body…. RFC 7 opens every command with an empty frame, RFC 18 none; peers
of either version are found that do the opposite, so both are taken, and each peer is answered as it speaks (`Form`).

Decoding raises `ProtocolError` and nothing else, whatever the frames; bodies are never looked into.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from maitred.protocol import limits
from maitred.protocol.errors import ProtocolError

__all__ = [
    "HEAD_BYTES",
    "MANAGEMENT",
    "Answer",
    "Call",
    "Disconnect",
    "Form",
    "FromPeer",
    "Heartbeat",
    "Order",
    "Ready",
    "Result",
    "decode",
    "decode_answer",
    "decode_order",
    "encode",
    "is_majordomo",
    "speaker",
]

MAX_SERVICE_BYTES = 4 * limits.MAX_NAME_CHARS
"""A service is a pool, whose name has at most MAX_NAME_CHARS characters of at most four bytes each."""

MAX_ADDRESS_BYTES = 255
"""Of the client's address: ZeroMQ's own bound of a routing id, which is what it was made for."""

HEAD_BYTES = frozenset({0, 6})
"""Lengths of the first frame: the empty one, or the name of role and version."""

MANAGEMENT = "mmi."
"""What the names of the broker's own services begin with (RFC 8, Namespace)."""

CLIENTS = {b"MDPC01": 1, b"MDPC02": 2}
WORKERS = {b"MDPW01": 1, b"MDPW02": 2}
_CLIENT_NAMES = {version: name for name, version in CLIENTS.items()}
_WORKER_NAMES = {version: name for name, version in WORKERS.items()}

READY, REQUEST = b"\x01", b"\x02"
"""RFC 7 and RFC 18, MDP/Worker: the same in both."""

RESULTS = {1: {b"\x03": True}, 2: {b"\x03": False, b"\x04": True}}
"""RFC 7: REPLY; RFC 18: PARTIAL and FINAL. By version and number, whether it is the last one."""

HEARTBEAT = {1: b"\x04", 2: b"\x05"}
DISCONNECT = {1: b"\x05", 2: b"\x06"}
"""By version (RFC 7, RFC 18: MDP/Worker)."""

CALL, PARTIAL, FINAL = b"\x01", b"\x02", b"\x03"
"""RFC 18, MDP/Client."""

CALL_AS_WORKERS, PARTIAL_AS_WORKERS, FINAL_AS_WORKERS = b"\x02", b"\x03", b"\x04"
"""The same as some clients number them, like majortomo (PyPI): as MDP/Worker does. A client never sends the RFC's 2."""


class Form(Struct, frozen=True):
    """How a peer speaks.

    Attributes:
        version: 1 or 2, of MDP/0.1 and MDP/0.2.
        delimiter: whether its messages open with an empty frame.
        as_workers: a client's commands have a worker's numbers, and its answers do not name the service.
    """

    version: int = 1
    delimiter: bool = True
    as_workers: bool = False


class Call(Struct, frozen=True):
    """REQUEST of a client."""

    form: Form
    service: str
    body: Sequence[Any] = ()


class Answer(Struct, frozen=True):
    """REPLY, PARTIAL or FINAL to a client; 0.1 knows only final ones."""

    form: Form
    service: str
    body: Sequence[Any] = ()
    final: bool = True


class Ready(Struct, frozen=True):
    """READY: a worker serves this service from now on."""

    form: Form
    service: str


class Order(Struct, frozen=True):
    """REQUEST to a worker. It gives `address` back with its answer."""

    form: Form
    address: bytes
    body: Sequence[Any] = ()


class Result(Struct, frozen=True):
    """REPLY, PARTIAL or FINAL of a worker; 0.1 knows only final ones."""

    form: Form
    address: bytes
    body: Sequence[Any] = ()
    final: bool = True


class Heartbeat(Struct, frozen=True):
    """HEARTBEAT, both ways between worker and broker."""

    form: Form


class Disconnect(Struct, frozen=True):
    """DISCONNECT, both ways between worker and broker: nothing follows."""

    form: Form


FromPeer = Call | Ready | Result | Heartbeat | Disconnect
"""What a broker receives."""


def is_majordomo(frames: Sequence[Any]) -> bool:
    """Whether a message is meant to be of this protocol, be it as broken as it may."""
    return _head(frames)[:3] == b"MDP"


def speaker(frames: Sequence[Any]) -> tuple[bool, Form] | None:
    """Whether a worker speaks, and how, as far as the beginning of a message says; None where it is neither role's."""
    head = _head(frames)
    form = Form(CLIENTS.get(head) or WORKERS.get(head) or 0, _is_empty(frames[0]) if frames else False)
    return (head in WORKERS, form) if form.version else None


def decode(frames: Sequence[Any]) -> FromPeer:
    """Read what a client or a worker sends to a broker.

    Raises:
        ProtocolError: it is no command of theirs; the text says what is wrong.
    """
    spoken, rest = _open(frames)
    is_worker, form = spoken
    return _from_worker(form, rest) if is_worker else _from_client(form, rest)


def decode_answer(frames: Sequence[Any], *, as_workers: bool = False) -> Answer:
    """Read what a broker sends to a client, who speaks as `Form.as_workers` says.

    Raises:
        ProtocolError: it is no command of a broker's to a client.
    """
    (is_worker, form), rest = _open(frames)
    if is_worker:
        raise ProtocolError("a worker's command, said to a client")
    if form.version == 1:
        return Answer(form, _service(rest), rest[1:])
    known = {PARTIAL_AS_WORKERS: False, FINAL_AS_WORKERS: True} if as_workers else {PARTIAL: False, FINAL: True}
    number = _number(rest)
    if number not in known:
        raise ProtocolError(f"a broker does not send command {number.hex()} to a client")
    if as_workers:
        return Answer(Form(2, form.delimiter, as_workers=True), "", rest[1:], known[number])
    return Answer(form, _service(rest[1:]), rest[2:], known[number])


def decode_order(frames: Sequence[Any]) -> Order | Heartbeat | Disconnect:
    """Read what a broker sends to a worker.

    Raises:
        ProtocolError: it is no command of a broker's to a worker.
    """
    (is_worker, form), rest = _open(frames)
    if not is_worker:
        raise ProtocolError("a client's command, said to a worker")
    number = _number(rest)
    if number == REQUEST:
        return Order(form, *_addressed(rest[1:]))
    return _sign(form, number, rest)


def encode(message: FromPeer | Answer | Order) -> list[Any]:
    """Make the frames of a message, bodies as they are."""
    form = message.form
    opening = [b""] if form.delimiter else []
    if isinstance(message, Call | Answer):
        opening.append(_CLIENT_NAMES[form.version])
        return [*opening, *_client_command(message), *message.body]
    opening.append(_WORKER_NAMES[form.version])
    match message:
        case Ready():
            return [*opening, READY, message.service.encode()]
        case Order():
            return [*opening, REQUEST, message.address, b"", *message.body]
        case Result():
            number = next(number for number, final in RESULTS[form.version].items() if final is message.final)
            return [*opening, number, message.address, b"", *message.body]
        case Heartbeat():
            return [*opening, HEARTBEAT[form.version]]
        case Disconnect():
            return [*opening, DISCONNECT[form.version]]


def _client_command(message: Call | Answer) -> list[bytes]:
    form, service = message.form, message.service.encode()
    if form.version == 1:
        return [service]
    if isinstance(message, Call):
        return [CALL_AS_WORKERS if form.as_workers else CALL, service]
    if form.as_workers:
        return [FINAL_AS_WORKERS if message.final else PARTIAL_AS_WORKERS]
    return [FINAL if message.final else PARTIAL, service]


def _from_client(form: Form, rest: Sequence[Any]) -> Call:
    if form.version == 1:
        return Call(form, _service(rest), rest[1:])
    number = _number(rest)
    if number == CALL_AS_WORKERS:
        form = Form(2, form.delimiter, as_workers=True)
    elif number != CALL:
        raise ProtocolError(f"a client of MDP/0.2 does not send command {number.hex()}")
    return Call(form, _service(rest[1:]), rest[2:])


def _from_worker(form: Form, rest: Sequence[Any]) -> Ready | Result | Heartbeat | Disconnect:
    number = _number(rest)
    if number == READY:
        if len(rest) > 2:
            raise ProtocolError(f"READY of {len(rest) - 1} frames; it has one, the service")
        return Ready(form, _service(rest[1:]))
    final = RESULTS[form.version].get(number)
    if final is not None:
        return Result(form, *_addressed(rest[1:]), final)
    return _sign(form, number, rest)


def _sign(form: Form, number: bytes, rest: Sequence[Any]) -> Heartbeat | Disconnect:
    """HEARTBEAT or DISCONNECT, which have nothing after them."""
    known = {HEARTBEAT[form.version]: Heartbeat, DISCONNECT[form.version]: Disconnect}.get(number)
    if known is None:
        raise ProtocolError(f"no command {number.hex()} of MDP/Worker 0.{form.version} goes this way")
    if len(rest) > 1:
        raise ProtocolError(f"{known.__name__.upper()} has no frames of its own, this one has {len(rest) - 1}")
    return known(form)


# --- frames ---


def _open(frames: Sequence[Any]) -> tuple[tuple[bool, Form], Sequence[Any]]:
    """Who speaks and how, and the frames after that."""
    if len(frames) > limits.MAX_FRAMES:
        raise ProtocolError(f"{len(frames)} frames in one message; at most {limits.MAX_FRAMES} are allowed")
    spoken = speaker(frames)
    if spoken is None:
        raise ProtocolError(f"no role and version of Majordomo's protocol: {_head(frames)[:8].hex(' ') or 'nothing'}")
    return spoken, frames[2 if spoken[1].delimiter else 1 :]


def _head(frames: Sequence[Any]) -> bytes:
    """The frame of role and version: the first one that is not empty, if that is short enough."""
    place = 1 if frames and _is_empty(frames[0]) else 0
    if len(frames) <= place or len(frames[place]) not in HEAD_BYTES:
        return b""
    return bytes(frames[place])


def _is_empty(frame: Any) -> bool:
    return len(frame) == 0


def _number(rest: Sequence[Any]) -> bytes:
    if not rest or len(rest[0]) != 1:
        raise ProtocolError("a command is one byte" if rest else "a message without a command")
    return bytes(rest[0])


def _service(rest: Sequence[Any]) -> str:
    if not rest:
        raise ProtocolError("a message without a service")
    if not 0 < len(rest[0]) <= MAX_SERVICE_BYTES:
        raise ProtocolError(f"a service of {len(rest[0])} bytes; 1 to {limits.MAX_NAME_CHARS} characters are allowed")
    try:
        name = bytes(rest[0]).decode()
    except UnicodeDecodeError:
        raise ProtocolError("the name of a service is text in UTF-8") from None
    if len(name) > limits.MAX_NAME_CHARS:
        raise ProtocolError(f"a service of {len(name)} characters; at most {limits.MAX_NAME_CHARS} are allowed")
    return name


def _addressed(rest: Sequence[Any]) -> tuple[bytes, Sequence[Any]]:
    """The client's address and the body, which has an empty frame in front."""
    if len(rest) < 2 or len(rest[1]):
        raise ProtocolError("an address is one frame, with an empty one after it")
    if not 0 < len(rest[0]) <= MAX_ADDRESS_BYTES:
        raise ProtocolError(f"an address of {len(rest[0])} bytes; 1 to {MAX_ADDRESS_BYTES} are allowed")
    return bytes(rest[0]), rest[2:]
