"""Puts what a function raised into the words that its caller gets: an `application_error`. Text only, never pickle."""

from __future__ import annotations

import sys
import traceback
from typing import Any

from maitred.protocol.errors import MaitredError

__all__ = ["describe_exception", "in_one_sentence", "name_of_type"]

MAX_TRACEBACK_BYTES = 16 * 1024
"""Of a longer traceback the middle is left out: it begins where the request did and ends with the error."""

MAX_SENTENCE_CHARS = 1000
"""Of the message: it stands in a header, whose texts are limited (protocol.limits.MAX_TEXT_CHARS)."""

_APPLICATION_LIKE = "maitred.worker.adapters"


def describe_exception(exc: BaseException) -> tuple[str, dict[str, Any]]:
    """Describe what a function raised.

    Returns:
        One sentence ("ValueError: no such row"), and the details: `type` (qualified, builtins plain), `traceback`
        (text, at most 16 KiB, without frames of maitred's own), and `code` where the cause was itself an answer from
        maitred, from a nested `context.call` say.
    """
    kind = name_of_type(type(exc))
    details: dict[str, Any] = {"type": kind, "traceback": _clip(_format(exc))}
    if isinstance(exc, MaitredError):
        details["code"] = str(exc.code)
    return _sentence(exc, kind), details


def _sentence(exc: BaseException, kind: str) -> str:
    text = exc.message if isinstance(exc, MaitredError) else _text(exc)
    if isinstance(exc, SystemExit):
        text = f"the command called sys.exit({exc.code!r}); the worker goes on"
    return in_one_sentence(f"{kind}: {text}" if text else kind)


def in_one_sentence(text: str) -> str:
    """Make it fit into a header."""
    sentence = _clean(text)
    return sentence if len(sentence) <= MAX_SENTENCE_CHARS else sentence[: MAX_SENTENCE_CHARS - 1] + "…"


def _text(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception as error:  # a __str__ of the application's own
        return f"<its __str__ raised {type(error).__name__}>"


def name_of_type(kind: type) -> str:
    """Qualified, builtins plain."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _format(exc: BaseException) -> str:
    try:
        found = traceback.TracebackException.from_exception(exc)
        _strip(found, _own_files(), set())
        return _clean("".join(found.format()))
    except Exception as error:  # the application's classes again: nothing they do may cost the caller the answer
        return f"<the traceback could not be written: {type(error).__name__}>"


def _own_files() -> set[str]:
    """Files of maitred that are loaded; not the bundled adapters, which are applications like any other."""
    return {
        str(module.__file__)
        for name, module in list(sys.modules.items())
        if name.startswith("maitred.") and not name.startswith(_APPLICATION_LIKE) and getattr(module, "__file__", None)
    }


def _strip(found: traceback.TracebackException, own: set[str], seen: set[int]) -> None:
    if id(found) in seen:
        return
    seen.add(id(found))
    kept = [frame for frame in found.stack if frame.filename not in own]
    found.stack = traceback.StackSummary.from_list(kept)
    for other in (found.__cause__, found.__context__, *(found.exceptions or ())):
        if other is not None:
            _strip(other, own, seen)


def _clip(text: str) -> str:
    """Keep head and tail within the limit."""
    raw = text.encode()
    if len(raw) <= MAX_TRACEBACK_BYTES:
        return text
    half = MAX_TRACEBACK_BYTES // 2 - 40  # room for the line between, and for characters cut in two
    left_out = len(raw) - 2 * half
    return f"{raw[:half].decode(errors='ignore')}\n… {left_out} bytes left out …\n{raw[-half:].decode(errors='ignore')}"


def _clean(text: str) -> str:
    """Make it valid UTF-8: a file name out of the operating system may hold lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode()
