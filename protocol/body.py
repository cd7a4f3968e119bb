"""Bodies: Python values to msgpack frames and back, large buffers in frames of their own. Never pickle.

Extension types (docs/protocol.md, Bodies):

    1  BUFFER  payload: msgpack integer, the index of the body frame that holds the bytes (the msgpack itself is frame 0)
    2  ARRAY   payload: msgpack array [dtype, shape, data]; dtype as in NumPy's array interface ("<f8"), shape in
               elements, data binary in C order, or a BUFFER
   -1  msgpack's own timestamp: an aware datetime

The broker imports this file only to write the details of its own errors and tables; it reads no body.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# msgpack and NumPy (an extra, never imported here at type-checking time) deal in values of any type, and so does this.

from __future__ import annotations

import dataclasses
import datetime
import math
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgpack

from maitred.protocol import limits
from maitred.protocol.errors import DecodeError, EncodeError

EXT_BUFFER = 1
EXT_ARRAY = 2

ARRAY_KINDS = "biufcSUmM"
"""NumPy kinds that are plain memory. Objects ("O") would need pickle, records ("V") have no portable layout."""

SMALL_BYTES = 1024
"""What a packer begins with: it grows by doubling, and msgpack's own choice, 1 MiB, is asked of the system each time."""

_BUFFERS = (bytes, bytearray, memoryview)

_out_of_band_bytes: int = limits.OUT_OF_BAND_BYTES

_ACCEPTED = "None, bool, int (64 bits), float, str, bytes, list, tuple, dict, aware datetime, dataclass, NumPy array"


class _Buffers(list[Any]):
    """The buffers of one body, and how many there may be."""

    room = limits.MAX_FRAMES - 2  # beside the header, and the msgpack


def encode_body(value: Any, *, spare: int = 0) -> list[Any]:
    """Encode a value into body frames: one of msgpack, then one for each large buffer, which is not copied.

    A buffer must not change until the message is sent. `spare`: frames of the message that something else needs.

    Raises:
        EncodeError: a value msgpack cannot carry; `path` says where it stands, `type_name` what it is.
    """
    packed = None if _may_hold_large(value) else _pack_plain(value)
    return _encode_any(value, spare) if packed is None else [packed]


def set_out_of_band(size: int) -> None:
    """Have this process write buffers into frames of their own from this size (bytes) on. Readers take either."""
    global _out_of_band_bytes
    _out_of_band_bytes = size


def decode_body(frames: Sequence[Any]) -> Any:
    """Decode body frames into a value. Arrays are views of their frame, read-only where the frame is.

    Raises:
        DecodeError: whatever is wrong with the bytes; nothing else is raised.
    """
    if not frames:
        raise DecodeError("a body of no frames")
    try:
        return msgpack.unpackb(
            _view(frames[0]), ext_hook=partial(_read_extension, frames=frames), strict_map_key=False, timestamp=3
        )
    except DecodeError:
        raise
    except Exception as error:  # the unpacker raises a dozen types, all meaning: these bytes are not a value
        raise DecodeError(f"body: {error or type(error).__name__}") from None


def _pack_plain(value: Any) -> bytes | None:
    """Pack what needs no help of ours and no frame of its own, as nearly all is; None where it does."""
    try:
        packed: bytes | None = msgpack.Packer(use_bin_type=True, datetime=True, buf_size=SMALL_BYTES).pack(value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None
    return None if packed is None or len(packed) >= _out_of_band_bytes else packed


def _encode_any(value: Any, spare: int) -> list[Any]:
    buffers = _Buffers()
    buffers.room -= spare
    try:
        packed = _pack(_lift(value, buffers) if _may_hold_large(value) else value, buffers)
        if len(packed) >= _out_of_band_bytes and not buffers:
            lifted = _lift_deep(value, buffers)
            if buffers:
                packed = _pack(lifted, buffers)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _explain(value, error) from None
    return [packed, *buffers]


def _pack(value: Any, buffers: _Buffers) -> bytes:
    def default(item: Any) -> Any:
        return _convert(item, buffers)

    packed: bytes | None = msgpack.Packer(default=default, use_bin_type=True, datetime=True).pack(value)
    assert packed is not None
    return packed


def _may_hold_large(value: Any) -> bool:
    """Look one level deep for a large buffer: where one usually is, and where looking costs next to nothing."""
    for item in value.values() if type(value) is dict else (value,):
        if isinstance(item, _BUFFERS) and _size(item) >= _out_of_band_bytes:
            return True
    return False


def _is_large(item: Any) -> bool:
    return isinstance(item, _BUFFERS) and _size(item) >= _out_of_band_bytes


def _size(item: bytes | bytearray | memoryview) -> int:
    return item.nbytes if isinstance(item, memoryview) else len(item)


def _lift(value: Any, buffers: _Buffers) -> Any:
    if type(value) is dict:
        return {key: _buffer(item, buffers) if _is_large(item) else item for key, item in value.items()}
    return _buffer(value, buffers)


def _lift_deep(value: Any, buffers: _Buffers) -> Any:
    if _is_large(value):
        return _buffer(value, buffers)
    if isinstance(value, dict):
        return {key: _lift_deep(item, buffers) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_lift_deep(item, buffers) for item in value]
    return value


def _buffer(data: Any, buffers: _Buffers) -> Any:
    """Put the data into a frame of its own, while there are frames left; else leave it in band."""
    if len(buffers) >= buffers.room:
        return data
    buffers.append(data)
    return msgpack.ExtType(EXT_BUFFER, msgpack.packb(len(buffers)))


def _convert(item: Any, buffers: _Buffers) -> Any:
    """Turn what msgpack does not know into what it does. Called by the packer."""
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        if isinstance(item, numpy.ndarray):
            return _array(item, numpy, buffers)
        if isinstance(item, numpy.generic) and item.dtype.kind in "biufSU":
            return item.item()
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        return {field.name: getattr(item, field.name) for field in dataclasses.fields(item)}
    raise TypeError(_describe(item))


def _array(item: Any, numpy: Any, buffers: _Buffers) -> Any:
    if item.dtype.kind not in ARRAY_KINDS:
        raise TypeError(f"a NumPy array of dtype {item.dtype}")
    flat = numpy.ascontiguousarray(item)
    data: Any = flat.reshape(-1).view(numpy.uint8).data if flat.nbytes else b""
    if flat.nbytes >= _out_of_band_bytes:
        data = _buffer(data, buffers)
    return msgpack.ExtType(EXT_ARRAY, msgpack.packb([item.dtype.str, list(item.shape), data], use_bin_type=True))


def _view(frame: Any) -> Any:
    return frame if isinstance(frame, bytes) else memoryview(frame)


def _read_extension(code: int, data: bytes, frames: Sequence[Any]) -> Any:
    if code == EXT_BUFFER:
        frame = _frame(data, frames)
        return frame if isinstance(frame, bytes) else bytes(memoryview(frame))
    if code == EXT_ARRAY:
        return _read_array(data, frames)
    raise DecodeError(f"body: unknown extension type {code}")


def _frame(data: bytes, frames: Sequence[Any]) -> Any:
    index = msgpack.unpackb(data)
    if type(index) is not int or not 0 < index < len(frames):
        raise DecodeError(f"body: refers to frame {index!r}, but has {len(frames)}")
    return frames[index]


def _read_array(data: bytes, frames: Sequence[Any]) -> Any:
    try:
        import numpy
    except ImportError:
        raise DecodeError('body: holds an array, and NumPy is not installed here: pip install "maitred[ml]"') from None

    def ext_hook(code: int, inner: bytes) -> Any:
        if code != EXT_BUFFER:
            raise DecodeError(f"body: extension type {code} inside an array")
        return memoryview(_frame(inner, frames))

    kind, shape, content = msgpack.unpackb(data, ext_hook=ext_hook)
    dtype = numpy.dtype(kind) if isinstance(kind, str) else None
    if dtype is None or dtype.kind not in ARRAY_KINDS or dtype.names:
        raise DecodeError(f"body: an array of dtype {kind!r}")
    if len(shape) > limits.MAX_ARRAY_DIMENSIONS or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise DecodeError(f"body: an array of shape {shape!r}")
    view = memoryview(content)
    if math.prod(shape) * dtype.itemsize != view.nbytes:
        raise DecodeError(f"body: an array of shape {shape} and dtype {kind} in {view.nbytes} bytes")
    return numpy.frombuffer(view, dtype=dtype).reshape(shape) if view.nbytes else numpy.empty(shape, dtype)


def _explain(value: Any, error: Exception) -> EncodeError:
    """Find the value that cannot be carried, for a message that names it."""
    path, culprit = _find(value, "", set())
    if culprit is _NOTHING:
        return EncodeError(f"cannot be encoded: {error}", path="", type_name=type(value).__name__)
    where = path.lstrip(".") or "the value itself"
    return EncodeError(
        f"{where} is {_describe(culprit)}, which cannot be sent; accepted: {_ACCEPTED}",
        path=path.lstrip("."),
        type_name=type(culprit).__qualname__,
    )


_NOTHING = object()


def _find(value: Any, path: str, seen: set[int]) -> tuple[str, Any]:
    if isinstance(value, dict | list | tuple):
        if id(value) in seen or len(seen) > 500:  # msgpack's own depth is 511
            return path, value
        inside = seen | {id(value)}
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            if isinstance(value, dict) and not isinstance(key, str | bytes | int | float | bool | None):
                return f"{path}.{key!r} (the key)", key
            found = _find(item, f"{path}.{key}" if isinstance(value, dict) else f"{path}[{key}]", inside)
            if found[1] is not _NOTHING:
                return found
        return path, _NOTHING
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _find({f.name: getattr(value, f.name) for f in dataclasses.fields(value)}, path, seen | {id(value)})
    try:
        _pack(value, _Buffers())
    except (TypeError, ValueError, OverflowError, RecursionError):
        return path, value
    return path, _NOTHING


def _describe(item: Any) -> str:
    kind = type(item).__qualname__
    if isinstance(item, int):
        return f"an int of {item.bit_length()} bits"
    if isinstance(item, datetime.datetime):
        return "a datetime without a time zone"
    if isinstance(item, str):
        return "a str with lone surrogates"
    if isinstance(item, dict | list | tuple):
        return f"a {kind} that contains itself or is nested too deeply"
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(item, numpy.ndarray):
        return f"a NumPy array of dtype {item.dtype}"
    return f"of type {kind}"
