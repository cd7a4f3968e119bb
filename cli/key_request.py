"""What `maitred keys new` is asked for, looked at before anything is written: everything that is wrong is said at once."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from maitred.config import parse_size
from maitred.config.authorized import ROLES
from maitred.config.problems import nearest

__all__ = ["BROKER", "patterns", "problems"]

BROKER = "broker"
"""The name of the broker's own key."""

TAKEN = "authorized"
"""A file of this name is there already, with another ending: two of them would be taken for one another."""

MAX_PATTERN_CHARS = 257
"""Of a pool's name, a colon and a command's name."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,127}")


def problems(name: str, role: str, wanted: dict[str, str], limits: dict[str, Any]) -> Iterable[str]:
    """What is wrong with a key that is asked for, a line each.

    Args:
        name: of the key's owner.
        role: what it is to be.
        wanted: patterns of "call" and "serve", with commas between them; "" for none.
        limits: by name; None for none.
    """
    if not _NAME.fullmatch(name) or name == TAKEN:
        yield f"NAME is {name!r}; accepted: letters, digits and _ . @ -, 1 to 128 of them, not beginning with . @ -"
    if name == BROKER:
        if role or any(wanted.values()) or any(value is not None for value in limits.values()):
            yield 'the key named "broker" is the broker\'s own: it has no role, and nothing that it may do'
        return
    if role not in ROLES:
        near = nearest(role, list(ROLES)) if role else None
        found = f"--role is {role!r}" if role else "--role is missing"
        yield f"{found}; accepted: {', '.join(ROLES)}" + (f"; did you mean {near}?" if near else "")
    serves = role in ("worker", "agent")
    if role == "client" and not wanted["call"]:
        yield "--call is missing: what a client may call, as --call 'general,neural:train_*', or --call '*' for anything"
    if serves and not wanted["serve"]:
        yield f"--serve is missing: the pools that this {role} may serve, as --serve general, or --serve '*' for any"
    if role in ("client", "operator") and wanted["serve"]:
        yield "--serve is for workers and agents; clients and operators serve nothing"
    for option, text in wanted.items():
        if any(not 0 < len(pattern) <= MAX_PATTERN_CHARS for pattern in patterns(text)):
            form = f"patterns with commas between them, each of 1 to {MAX_PATTERN_CHARS} characters"
            yield f"--{option} is {text!r}; accepted: {form}"
    yield from _limit_problems(limits)


def _limit_problems(limits: dict[str, Any]) -> Iterable[str]:
    if limits["max_in_flight"] is not None and limits["max_in_flight"] < 1:
        yield f"--max-in-flight is {limits['max_in_flight']}; accepted: a whole number from 1"
    if limits["rate"] is not None and not 0 < limits["rate"] < 1e9:
        yield f"--rate is {limits['rate']:g}; accepted: requests in a second, above 0"
    if limits["max_queued_bytes"] is not None:
        try:
            if not 0 < parse_size(limits["max_queued_bytes"]) <= 2**50:
                yield "--max-queued-bytes is out of range; accepted: 1 byte to 1PiB, as 1GB"
        except ValueError as error:
            yield f"--max-queued-bytes: {error}"


def patterns(text: str) -> list[str]:
    """What stands between the commas."""
    return [pattern.strip() for pattern in text.split(",")] if text else []
