"""Values and keys as TOML text: for messages, which are one line each, and for `maitred config show`."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable
from typing import Any, cast

__all__ = ["dotted", "inline", "key", "split_key"]

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SEGMENT = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|'[^']*'|[^\s."'=\[\]]+)\s*""")

MAX_NESTED = 8
"""Tables within tables that are shown; nothing that is accepted comes near it."""


def inline(value: Any, depth: int = 0) -> str:
    """A value on one line; what TOML has no word for (None) as Python's."""
    if depth > MAX_NESTED:
        return "…"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, int) and abs(value) >= 10**100:
        return f"a number of {value.bit_length()} bits"  # more digits than Python would print
    if isinstance(value, dict):
        pairs = cast("dict[str, Any]", value)
        inner = ", ".join(f"{key(name)} = {inline(item, depth + 1)}" for name, item in pairs.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list):
        return f"[{', '.join(inline(item, depth + 1) for item in cast('list[Any]', value))}]"
    return str(value)


def key(name: str) -> str:
    """One segment of a key, quoted where it has to be."""
    return name if _BARE.fullmatch(name) else _quoted(name)


def dotted(path: Iterable[str]) -> str:
    """A key's path."""
    return ".".join(key(name) for name in path)


def split_key(text: str) -> tuple[str, ...] | None:
    """The segments of a dotted key. A bare segment may also have characters that TOML wants quoted (`*`).

    Returns:
        None where it is no key.
    """
    path: list[str] = []
    at = 0
    while True:
        found = _SEGMENT.match(text, at)
        if found is None:
            return None
        try:
            path.append(_unquoted(found[1]))
        except ValueError:  # an unknown escape
            return None
        at = found.end()
        if at == len(text):
            return tuple(path)
        if text[at] != ".":
            return None
        at += 1


def _quoted(text: str) -> str:
    escaped = json.dumps(text, ensure_ascii=False)
    return "".join(char if char.isprintable() else _escape(char) for char in escaped)


def _escape(char: str) -> str:
    number = ord(char)
    return f"\\u{number:04X}" if number < 0x10000 else f"\\U{number:08X}"


def _unquoted(segment: str) -> str:
    if segment[0] not in "\"'":
        return segment
    return next(iter(tomllib.loads(f"{segment} = 0")))
