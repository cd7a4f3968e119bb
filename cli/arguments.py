"""The arguments of a call as a user types them: a JSON object, `-` for standard input, or `@FILE`."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, cast

from maitred.cli.output import Exit, fail

__all__ = ["parse_arguments", "parse_object", "read_arguments"]

SHOWN_CHARS = 80
"""Of what is no JSON: enough to recognise it."""

QUOTE = """quote it for the shell, as in '{"message": "hello"}', or write it to a file: @args.json"""


def read_arguments(words: list[str]) -> dict[str, Any]:
    """The arguments that stand behind the command; what is wrong with them ends it with 2, and with what to write."""
    if not words:
        return {}
    if len(words) > 1:
        fail(
            f"the arguments are one word, and these are {len(words)}: {' '.join(words)[:SHOWN_CHARS]!r}; {QUOTE}",
            Exit.USAGE,
        )
    (word,) = words
    if word == "-":
        return parse_arguments(sys.stdin.read(), "standard input")
    if word.startswith("@"):
        try:
            return parse_arguments(Path(word[1:]).read_text(), word[1:])
        except (OSError, UnicodeDecodeError) as error:
            fail(f"the arguments cannot be read from {word[1:]!r}: {error}", Exit.USAGE)
    return parse_arguments(word, None)


def parse_arguments(text: str, where: str | None) -> dict[str, Any]:
    """What a text says; `where` it came from, None: from the command line, where a shell may have taken its quotes."""
    try:
        return parse_object(text)
    except ValueError as error:
        source = f" in {where}" if where else ""
        hint = f"; {QUOTE}" if where is None and _lost_its_quotes(text) else ""
        fail(f"the arguments{source} are no JSON object: {error}{hint}", Exit.USAGE)


def parse_object(text: str) -> dict[str, Any]:
    """One JSON object.

    Raises:
        ValueError: it is none; the text says why, and shows it.
    """
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        raise ValueError(f"{error.msg} at {place}: {text.strip()[:SHOWN_CHARS]!r}") from None
    if not isinstance(found, dict):
        raise ValueError(f'an object is {{"message": "hello"}}, and this is {text.strip()[:SHOWN_CHARS]!r}')
    return cast("dict[str, Any]", found)


def _lost_its_quotes(text: str) -> bool:
    return re.match(r"\s*\{?\s*[A-Za-z_]\w*\s*[:=}]?", text) is not None or text.lstrip().startswith(("{'", "'"))
