"""What is wrong with a configuration, as data and as one line each: where, which key, the value, what is accepted."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from maitred.config.toml_text import inline

__all__ = ["ConfigError", "Problem", "ValueRejected", "nearest"]

MAX_VALUE_CHARS = 80
"""How much of a refused value is repeated."""


class ValueRejected(ValueError):
    """A value is not what a key takes.

    Attributes:
        accepted: what would be, as the end of a sentence that begins "expected".
        reason: what is wrong, where saying what is accepted does not tell.
        nearest: the likeliest one meant, as it would be written.
    """

    def __init__(self, value: Any, accepted: str, *, reason: str = "", nearest: str | None = None) -> None:
        self.accepted = accepted
        self.reason = reason
        self.nearest = nearest
        super().__init__(_sentence(shown(value), reason, accepted, nearest))


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong. `str` of it is one line.

    Attributes:
        source: the file with its line, the environment variable or the option that says so.
        key: the key's path, "" where the problem is with the whole source.
        value: the value as TOML, shortened; "" where there is none.
        reason: what is wrong, "" where `accepted` tells.
        accepted: what would be accepted, as the end of a sentence that begins "expected".
        nearest: the likeliest name meant.
    """

    source: str
    key: str = ""
    value: str = ""
    reason: str = ""
    accepted: str = ""
    nearest: str | None = None

    def __str__(self) -> str:
        subject = f"{self.key} = {self.value}" if self.key and self.value else self.key or self.value
        return ": ".join(
            part for part in (self.source, _sentence(subject, self.reason, self.accepted, self.nearest)) if part
        )


class ConfigError(Exception):
    """A configuration is refused. `problems` has everything that is wrong with it, at least one."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(str(problem) for problem in problems))


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The likeliest one meant, or None where nothing comes near."""
    return next(iter(difflib.get_close_matches(name[:MAX_VALUE_CHARS], list(known), n=1)), None)


def shown(value: Any) -> str:
    """A value as the user would write it, shortened, on one line."""
    text = inline(value)
    return text if len(text) <= MAX_VALUE_CHARS else text[: MAX_VALUE_CHARS - 1] + "…"


def _sentence(subject: str, reason: str, accepted: str, near: str | None) -> str:
    said = [reason, f"expected {accepted}" if accepted else "", f"did you mean {near}?" if near else ""]
    return ": ".join(part for part in (subject, "; ".join(part for part in said if part)) if part)
