"""The kinds of value that keys take. Each reads a TOML value, says what it accepts, writes it back, and has a schema.

`read` gives the resolved value (seconds, bytes, counts) or raises `ValueRejected`; `write` is its inverse, for people;
`schema` is JSON Schema for editors, which knows nothing of this host and so may accept a little more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

import msgspec

from maitred.config import endpoints, expressions, units
from maitred.config.hardware import Hardware
from maitred.config.problems import ValueRejected, nearest

__all__ = [
    "AbsolutePath",
    "Adapter",
    "Bytes",
    "Calls",
    "Choice",
    "Count",
    "Duration",
    "Endpoint",
    "Flag",
    "HttpAddress",
    "Kind",
    "Size",
    "WarmUpCall",
    "Workers",
]

MAX_POOL_SIZE = 1024
"""Workers of one pool on one host: what an agent can report in one message of the protocol."""

MAX_NAME_CHARS = 128
"""Of what is called over the wire: `maitred.protocol.limits` has the same."""

MAX_CALLS = 100
"""Of a pool's warm-up: more is a start-up function."""

ADAPTER_PATTERN = r"^[^\s:]([^:]*[^\s:])?:[^\W0-9]\w*(\.[^\W0-9]\w*)*$"
_ADAPTER = re.compile(ADAPTER_PATTERN)


class Size(msgspec.Struct, frozen=True):
    """How many workers a pool has: from `min` to `max`, the same where it is fixed."""

    min: int
    max: int


class Kind(Protocol):
    """One kind of value."""

    @property
    def accepts(self) -> str:
        """What is accepted, as the end of a sentence that begins "expected"."""
        ...

    def read(self, value: Any, hardware: Hardware) -> Any:
        """The resolved value.

        Raises:
            ValueRejected: it is not accepted.
        """
        ...

    def write(self, value: Any) -> Any:
        """A resolved value as TOML, for people."""
        ...

    def schema(self) -> dict[str, Any]:
        """JSON Schema of the TOML value."""
        ...


@dataclass(frozen=True)
class _Plain:
    """What is written as it is resolved."""

    def write(self, value: Any) -> Any:
        return value


@dataclass(frozen=True)
class Duration:
    """A time in seconds, between two bounds."""

    least_s: float
    most_s: float

    @property
    def accepts(self) -> str:
        """As in `Kind`."""
        least, most = units.format_duration(self.least_s), units.format_duration(self.most_s)
        return f"{units.DURATION_FORM}; from {least} to {most}"

    def read(self, value: Any, hardware: Hardware) -> float:
        """As in `Kind`."""
        seconds = _with_form(units.parse_duration, value, self.accepts)
        if not self.least_s <= seconds <= self.most_s:
            raise ValueRejected(value, self.accepts, reason="out of range")
        return seconds

    def write(self, value: float) -> str:
        """As in `Kind`."""
        return units.format_duration(value)

    def schema(self) -> dict[str, Any]:
        """As in `Kind`."""
        number = {"type": "number", "minimum": self.least_s, "maximum": self.most_s}
        return {"anyOf": [number, {"type": "string", "pattern": units.DURATION_PATTERN}]}


@dataclass(frozen=True)
class Bytes:
    """An amount of memory, between two bounds."""

    least_bytes: int
    most_bytes: int

    @property
    def accepts(self) -> str:
        """As in `Kind`."""
        least, most = units.format_size(self.least_bytes), units.format_size(self.most_bytes)
        return f"{units.SIZE_FORM}; from {least} to {most}"

    def read(self, value: Any, hardware: Hardware) -> int:
        """As in `Kind`."""
        size = _with_form(units.parse_size, value, self.accepts)
        if not self.least_bytes <= size <= self.most_bytes:
            raise ValueRejected(value, self.accepts, reason="out of range")
        return size

    def write(self, value: int) -> str:
        """As in `Kind`."""
        return units.format_size(value)

    def schema(self) -> dict[str, Any]:
        """As in `Kind`."""
        number = {"type": "integer", "minimum": self.least_bytes, "maximum": self.most_bytes}
        return {"anyOf": [number, {"type": "string", "pattern": units.SIZE_PATTERN}]}


@dataclass(frozen=True)
class Count(_Plain):
    """A whole number between two bounds."""

    least: int
    most: int

    @property
    def accepts(self) -> str:
        """As in `Kind`."""
        return f"a whole number from {self.least} to {self.most}"

    def read(self, value: Any, hardware: Hardware) -> int:
        """As in `Kind`."""
        if isinstance(value, bool) or not isinstance(value, int) or not self.least <= value <= self.most:
            raise ValueRejected(value, self.accepts)
        return value

    def schema(self) -> dict[str, Any]:
        """As in `Kind`."""
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True)
class Flag(_Plain):
    """Yes or no."""

    accepts = "true or false"

    def read(self, value: Any, hardware: Hardware) -> bool:
        """As in `Kind`."""
        if not isinstance(value, bool):
            raise ValueRejected(value, self.accepts)
        return value

    def schema(self) -> dict[str, Any]:
        """As in `Kind`."""
        return {"type": "boolean"}


@dataclass(frozen=True)
class Choice(_Plain):
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def accepts(self) -> str:
        """As in `Kind`."""
        return "one of " + ", ".join(f'"{word}"' for word in self.words)

    def read(self, value: Any, hardware: Hardware) -> str:
        """As in `Kind`."""
        if not isinstance(value, str) or value not in self.words:
            near = nearest(value, self.words) if isinstance(value, str) else None
            raise ValueRejected(value, self.accepts, nearest=f'"{near}"' if near else None)
        return value

    def schema(self) -> dict[str, Any]:
        """As in `Kind`."""
        return {"enum": list(self.words)}


@dataclass(frozen=True)
class Endpoint(_Plain):
    """Where ZeroMQ listens. `optional`: it may be nowhere ("")."""

    optional: bool = False

    @property
    def accepts(self) -> str:
        """As in `Kind`."""
        return endpoints.ENDPOINT_FORM + (', or "" for none' if self.optional else "")

    def read(self, value: Any, hardware: Hardware) -> str:
        """As in `Kind`."""
        if not (self.optional and value == ""):
            endpoints.parse_endpoint(value)
        return value

    def schema(self) -> dict[str, Any]:
        """As in `Kind`."""
        patterns = (endpoints.TCP_PATTERN, endpoints.IPC_PATTERN, *(["^$"] if self.optional else []))
        return {"anyOf": [{"type": "string", "pattern": pattern} for pattern in patterns]}


@dataclass(frozen=True)
class HttpAddress(_Plain):
    """Where HTTP is served."""

    accepts = endpoints.HTTP_FORM

    def read(self, value: Any, hardware: Hardware) -> str:
        """As in `Kind`."""
        endpoints.parse_http(value)
        return value

    def schema(self) -> dict[str, Any]:
        """As in `Kind`."""
        return {"type": "string", "pattern": endpoints.HTTP_PATTERN}


@dataclass(frozen=True)
class AbsolutePath:
    """A file or directory of this host."""

    accepts = 'an absolute path, or one that begins with "~/"'

    def read(self, value: Any, hardware: Hardware) -> Path:
        """As in `Kind`."""
        if not isinstance(value, str) or not value.startswith(("/", "~/")) or "\0" in value:
            raise ValueRejected(value, self.accepts)
        try:
            return Path(value).expanduser()
        except RuntimeError:
            raise ValueRejected(value, "an absolute path", reason="this user has no home directory") from None

    def write(self, value: Path) -> str:
        """As in `Kind`."""
        return str(value)

    def schema(self) -> dict[str, Any]:
        """As in `Kind`."""
        return {"type": "string", "pattern": "^(~/|/)"}


@dataclass(frozen=True)
class Name(_Plain):
    """What something is called on the wire."""

    accepts = f"a name of 1 to {MAX_NAME_CHARS} characters"

    def read(self, value: Any, hardware: Hardware) -> str:
        """As in `Kind`."""
        if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME_CHARS:
            raise ValueRejected(value, self.accepts)
        return value

    def schema(self) -> dict[str, Any]:
        """As in `Kind`."""
        return {"type": "string", "minLength": 1, "maxLength": MAX_NAME_CHARS}


@dataclass(frozen=True)
class Adapter(_Plain):
    """Where a service is found."""

    accepts = '"module:attribute" of a maitred.worker.Service, as "my_app.service:service"'

    def read(self, value: Any, hardware: Hardware) -> str:
        """As in `Kind`."""
        if not isinstance(value, str) or not _ADAPTER.fullmatch(value):
            near = f'"{value}:service"' if isinstance(value, str) and _ADAPTER.fullmatch(f"{value}:service") else None
            raise ValueRejected(value, self.accepts, nearest=near)
        return value

    def schema(self) -> dict[str, Any]:
        """As in `Kind`."""
        return {"type": "string", "pattern": "^[^:]+:[^:]+$"}


@dataclass(frozen=True)
class Workers:
    """How many workers: a number, an expression of this host's hardware, or a range of those."""

    accepts = (
        f"a whole number from 0 to {MAX_POOL_SIZE}, {expressions.EXPRESSION_FORM}, or {{ min = …, max = … }} of those"
    )

    def read(self, value: Any, hardware: Hardware) -> Size:
        """As in `Kind`."""
        if not isinstance(value, dict):
            count = self._count(value, hardware)
            return Size(count, count)
        bounds = cast("dict[str, Any]", value)
        if set(bounds) != {"min", "max"}:
            raise ValueRejected(value, "a table of exactly min and max, as { min = 2, max = 8 }")
        size = Size(*(self._count(bounds[name], hardware) for name in ("min", "max")))
        if size.min > size.max:
            reason = f"min comes to {size.min}, max to {size.max} here"
            raise ValueRejected(value, "min to be at most max", reason=reason)
        return size

    def _count(self, value: Any, hardware: Hardware) -> int:
        if isinstance(value, str):
            count = _with_form(partial(expressions.evaluate, hardware=hardware), value, self.accepts)
        else:
            count = value
        if isinstance(count, bool) or not isinstance(count, int):
            raise ValueRejected(value, self.accepts)
        if not 0 <= count <= MAX_POOL_SIZE:
            reason = f"comes to {count} here" if isinstance(value, str) else "out of range"
            raise ValueRejected(value, self.accepts, reason=reason)
        return count

    def write(self, value: Size) -> int | dict[str, int]:
        """As in `Kind`."""
        return value.min if value.min == value.max else {"min": value.min, "max": value.max}

    def schema(self) -> dict[str, Any]:
        """As in `Kind`."""
        number = {"type": "integer", "minimum": 0, "maximum": MAX_POOL_SIZE}
        text = {"type": "string", "maxLength": expressions.MAX_CHARS, "pattern": expressions.SCHEMA_PATTERN}
        count = {"anyOf": [number, text]}
        table: Mapping[str, Any] = {
            "type": "object",
            "properties": {"min": count, "max": count},
            "required": ["min", "max"],
            "additionalProperties": False,
        }
        return {"anyOf": [number, text, table]}


class WarmUpCall(msgspec.Struct, frozen=True):
    """A command, and its arguments by name."""

    command: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Calls:
    """Commands with arguments."""

    accepts = (
        f'at most {MAX_CALLS} tables of a command and its arguments, as {{ command = "echo", arguments = {{ n = 1 }} }}'
    )

    def read(self, value: Any, hardware: Hardware) -> tuple[WarmUpCall, ...]:
        """As in `Kind`."""
        if not isinstance(value, list) or len(cast("list[Any]", value)) > MAX_CALLS:
            raise ValueRejected(value, self.accepts)
        return tuple(self._call(value, one) for one in cast("list[Any]", value))

    def _call(self, value: Any, one: Any) -> WarmUpCall:
        if not isinstance(one, dict) or not set(cast("dict[str, Any]", one)) <= {"command", "arguments"}:
            raise ValueRejected(value, self.accepts)
        table = cast("dict[str, Any]", one)
        command, arguments = table.get("command"), table.get("arguments", {})
        if not isinstance(command, str) or not command or not isinstance(arguments, dict):
            raise ValueRejected(value, self.accepts)
        return WarmUpCall(command, cast("dict[str, Any]", arguments))

    def write(self, value: tuple[WarmUpCall, ...]) -> list[dict[str, Any]]:
        """As in `Kind`."""
        return [{"command": call.command, "arguments": call.arguments} for call in value]

    def schema(self) -> dict[str, Any]:
        """As in `Kind`."""
        call: Mapping[str, Any] = {
            "type": "object",
            "properties": {"command": {"type": "string", "minLength": 1}, "arguments": {"type": "object"}},
            "required": ["command"],
            "additionalProperties": False,
        }
        return {"type": "array", "maxItems": MAX_CALLS, "items": call}


def _with_form(parse: Callable[[Any], Any], value: Any, accepts: str) -> Any:
    """Parse, and have what is refused say what this key accepts rather than what the parser does."""
    try:
        return parse(value)
    except ValueRejected as error:
        raise ValueRejected(value, accepts, reason=error.reason, nearest=error.nearest) from None
