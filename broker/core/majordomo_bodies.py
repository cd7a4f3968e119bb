"""Bodies between Majordomo's peers and ours: which of their frames are which of our values, by what the pool says.

    majordomo_body    of a request                         of a result or part
    "msgpack"         [command] arguments                  result [buffers…]
    "raw"             [command] frame…  ↔ {"body": […]}    frame… ↔ bytes, or a list of them

The command stands in front where the pool does not name one (`majordomo_command`). Between two peers of Majordomo's
nothing is read: their frames pass as they are (`Opaque`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import msgspec

from maitred.broker.core.settings import PoolSettings
from maitred.protocol import limits
from maitred.protocol.body import EXT_BUFFER
from maitred.protocol.errors import Code

ERROR_MARK = b"maitred.error"
"""First of the two frames of an answer that is an error."""

MAX_DETAILS_BYTES = 64 * 1024
"""Of an error's details, which are read to be put beside its code; larger ones are left out. A certificate with the last
lines of a worker's output has a third of it."""

EMPTY_MAP = b"\x80"
NIL = b"\xc0"

UNNAMED = "-"
"""The command of a request whose first frame is no name of one: what has none of ours to choose from needs none."""


class Opaque(tuple[Any, ...]):
    """Frames of a body as a peer of Majordomo's sent them, or is to be sent them."""

    __slots__ = ()


class Unfit(Exception):
    """A body that the other side has no form for; `code` and the text are for who sent the request."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code


_Bytes = bytes | msgspec.msgpack.Ext
_Frames = _Bytes | Annotated[list[_Bytes], msgspec.Meta(max_length=limits.MAX_FRAMES)]


class _RawArguments(msgspec.Struct, forbid_unknown_fields=True):
    body: _Frames = []


_decode_arguments = msgspec.msgpack.Decoder(_RawArguments).decode
_decode_result: Callable[[Any], _Bytes | list[_Bytes]] = msgspec.msgpack.Decoder(_Frames).decode


def command_of(pool: PoolSettings | None, body: Sequence[Any]) -> str:
    """What a request of a Majordomo client calls."""
    if pool is not None and pool.majordomo_command is not None:
        return pool.majordomo_command
    if not body or not 0 < len(body[0]) <= 4 * limits.MAX_NAME_CHARS:
        return UNNAMED
    try:
        name = bytes(body[0]).decode()
    except UnicodeDecodeError:
        return UNNAMED
    return name if len(name) <= limits.MAX_NAME_CHARS and name.isprintable() else UNNAMED


# --- requests ---


def arguments_of(pool: PoolSettings, command: str, body: Opaque) -> list[Any]:
    """Our arguments, of their request.

    Raises:
        Unfit: `invalid_argument`: it names no command, or is no map of arguments.
    """
    frames = list(body)
    if pool.majordomo_command is None:
        if command == UNNAMED and (not frames or bytes(frames[0]) != UNNAMED.encode()):
            raise Unfit(Code.INVALID_ARGUMENT, "the first frame of the body is to name the command, in UTF-8")
        del frames[:1]
    if pool.majordomo_body == "raw":
        items, buffers = _lifted(frames)
        return [msgspec.msgpack.encode({"body": items}), *buffers]
    if len(frames) > 1:
        text = f"the arguments are one frame, a map in msgpack, and not {len(frames)}"
        raise Unfit(Code.INVALID_ARGUMENT, text)
    return frames if frames and len(frames[0]) else [EMPTY_MAP]


def request_of(pool: PoolSettings, command: str, body: Sequence[Any]) -> list[Any]:
    """Their request, of our arguments.

    Raises:
        Unfit: `unknown_command`: the pool's workers of Majordomo's run another one; `invalid_argument`: the arguments are
            not `body` alone, as bytes or a list of bytes.
    """
    if pool.majordomo_command not in (None, command):
        text = f"this worker speaks Majordomo's protocol and runs {pool.majordomo_command!r} only"
        raise Unfit(Code.UNKNOWN_COMMAND, text)
    named = [command.encode()] if pool.majordomo_command is None else []
    if pool.majordomo_body != "raw":
        return [*named, *body]
    try:
        frames = _frames_of(_decode_arguments(_view(body[0])).body, body)
    except (msgspec.DecodeError, _NoFrames, RecursionError) as error:
        text = f"a worker of Majordomo's takes the argument 'body' alone, bytes or a list of bytes: {error}"
        raise Unfit(Code.INVALID_ARGUMENT, text) from None
    return [*named, *frames]


# --- results and parts ---


def result_of(pool: PoolSettings, body: Opaque) -> list[Any]:
    """Our result, of their answer: in a raw pool one frame is bytes, none or several are a list."""
    if pool.majordomo_body != "raw":
        return list(body) or [NIL]
    items, buffers = _lifted(body)
    return [msgspec.msgpack.encode(items[0] if len(items) == 1 else items), *buffers]


def answer_of(pool: PoolSettings, body: Sequence[Any]) -> list[Any]:
    """Their answer, of our result.

    Raises:
        Unfit: `application_error`: the result is neither bytes nor a list of bytes, in a raw pool.
    """
    if pool.majordomo_body != "raw":
        return list(body)
    try:
        return _frames_of(_decode_result(_view(body[0])), body)
    except (msgspec.DecodeError, _NoFrames, RecursionError) as error:
        text = f"a client of Majordomo's gets bytes or a list of bytes of this pool, and the result is none: {error}"
        raise Unfit(Code.APPLICATION_ERROR, text) from None


def error_of(pool: PoolSettings | None, code: str, text: str, body: Sequence[Any] = ()) -> list[Any]:
    """Their answer where ours is an error: the mark, and a map of code, message and the details.

    It is msgpack in a pool whose bodies are, and JSON elsewhere.
    """
    table = _details(body) | {"code": str(code), "message": text}
    if pool is not None and pool.majordomo_body != "raw":
        return [ERROR_MARK, msgspec.msgpack.encode(table)]
    try:
        return [ERROR_MARK, msgspec.json.encode(table)]
    except (TypeError, ValueError, RecursionError):
        return [ERROR_MARK, msgspec.json.encode({"code": str(code), "message": text})]


def _details(body: Sequence[Any]) -> dict[Any, Any]:
    if not body or len(body[0]) > MAX_DETAILS_BYTES:
        return {}
    try:
        return msgspec.msgpack.decode(_view(body[0]), type=dict[str, Any], ext_hook=lambda code, data: None)
    except (msgspec.DecodeError, RecursionError):
        return {}


# --- frames and values ---


class _NoFrames(Exception):
    """What should be bytes is something else."""


def _lifted(frames: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Frames as values: large ones stay frames of their own, which the values refer to."""
    items: list[Any] = []
    buffers: list[Any] = []
    for frame in frames:
        if len(frame) >= limits.OUT_OF_BAND_BYTES and len(buffers) < limits.MAX_FRAMES - 2:
            buffers.append(frame)
            items.append(msgspec.msgpack.Ext(EXT_BUFFER, msgspec.msgpack.encode(len(buffers))))
        else:
            items.append(frame if isinstance(frame, bytes) else bytes(_view(frame)))
    return items, buffers


def _frames_of(value: _Bytes | list[_Bytes], body: Sequence[Any]) -> list[Any]:
    """The opposite: bytes or a list of them, those in frames of their own as these frames."""
    return [_frame_of(item, body) for item in (value if isinstance(value, list) else [value])]


def _frame_of(item: bytes | msgspec.msgpack.Ext, body: Sequence[Any]) -> Any:
    if isinstance(item, bytes):
        return item
    try:
        index = msgspec.msgpack.decode(item.data, type=int)
    except msgspec.DecodeError:
        index = 0
    if item.code != EXT_BUFFER or not 0 < index < len(body):
        raise _NoFrames("an extension type that is no buffer of this message")
    return body[index]


def _view(frame: Any) -> Any:
    return frame if isinstance(frame, bytes) else frame.buffer
