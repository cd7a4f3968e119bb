"""Puts into words what is wrong with a caller's arguments. Only reached when something is.

Every sentence names the command, the argument (with the path inside it: `data[3].x`), what was expected, what came.
"""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Callable, Iterable
from typing import Any

from maitred.protocol.errors import InvalidArgument
from maitred.worker.signature import Parameter, Signature

__all__ = ["explain", "name_of", "nearest"]

MAX_VALUE_CHARS = 60
"""How much of a refused value is repeated to its sender."""

_NAMES = {"object": "dict", "array": "list", "null": "None"}
"""msgspec speaks JSON; a Python author reads Python."""

_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")


def explain(
    command: str,
    signature: Signature,
    args: Any,
    error: Exception | None,
    check: Callable[[Any, Any], None],
) -> InvalidArgument:
    """Say why the arguments were refused.

    `error` is what the check of the whole raised; `check(annotation, value)` checks one value and raises likewise.
    """
    if not isinstance(args, dict):
        came = name_of(type(args))
        message = f"{command}: the arguments must be a map of names to values, got {came}"
        return _refusal(message, command, None, f"expected dict, got {came}", "dict", came)
    sent = typing.cast("dict[Any, Any]", args)
    return (
        _unknown(command, signature, sent)
        or _missing(command, signature, sent)
        or _mistyped(command, signature, sent, check)
        or _refusal(f"{command}: the arguments were refused: {error}", command, None, str(error), None, None)
    )


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The likeliest one meant, or None where nothing comes near."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


def name_of(kind: Any) -> str:
    """A type's name as a message shows it: without the module where it is a builtin."""
    if not isinstance(kind, type):
        return str(kind)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _unknown(command: str, signature: Signature, sent: dict[Any, Any]) -> InvalidArgument | None:
    accepted = [parameter.name for parameter in signature.parameters]
    for name in sent:
        if isinstance(name, str) and (name in accepted or (signature.open and name != signature.context)):
            continue
        shown = name if isinstance(name, str) else repr(name)
        near = nearest(shown, accepted)
        offer = f"it takes {signature}" if accepted else "it takes no arguments"
        message = f"{command}: unknown argument {_short(name)}; {f'did you mean {near!r}? ' if near else ''}{offer}"
        return _refusal(message, command, shown, "unknown", None, None, accepted=accepted, nearest=near)
    return None


def _missing(command: str, signature: Signature, sent: dict[Any, Any]) -> InvalidArgument | None:
    absent = [parameter for parameter in signature.parameters if parameter.required and parameter.name not in sent]
    if not absent:
        return None
    names = ", ".join(repr(parameter.name) for parameter in absent)
    message = f"{command}: missing argument{'s' if len(absent) > 1 else ''} {names}; it takes {signature}"
    return _refusal(message, command, absent[0].name, "missing", absent[0].type, None)


def _mistyped(
    command: str, signature: Signature, sent: dict[Any, Any], check: Callable[[Any, Any], None]
) -> InvalidArgument | None:
    declared = {parameter.name: parameter for parameter in signature.parameters}
    for name, value in sent.items():
        parameter = declared.get(name) or Parameter(name, signature.extras)
        try:
            check(parameter.annotation, value)
        except Exception as error:  # as in Arguments.validate
            return _describe(command, parameter, value, str(error))
    return None


def _describe(command: str, parameter: Parameter, value: Any, text: str) -> InvalidArgument:
    what, path = _split(text)
    argument = parameter.name + path
    found, culprit = _walk(value, path)
    came = name_of(type(culprit)) if found else None
    if what.startswith("Expected "):
        expected, got = _python(what.removeprefix("Expected ")), None
        expected, _, got = expected.partition(", got ")
        came = got or came
        shown = came if got or not found else f"{_short(culprit)}"
        reason = f"expected {expected}, got {shown or 'something else'}"
    else:
        expected = parameter.type
        reason = f"{_other(what)} (expected {expected})"
    return _refusal(f"{command}: argument {argument!r}: {reason}", command, argument, reason, expected, came)


def _split(text: str) -> tuple[str, str]:
    """Take msgspec's sentence apart: what is wrong, and the path below the value ("[3].x")."""
    what, _, where = text.rpartition(" - at `")
    if not what:
        return text, ""
    path = where.rstrip("`").removeprefix("key` in `").removeprefix("$.value")
    if where.startswith("key` in `"):
        what = re.sub(r"`(.*?)`", r"`\1 as a key`", what, count=1)
    return what, path


def _walk(value: Any, path: str) -> tuple[bool, Any]:
    """Follow the path; not to its end where it goes through a value of a map, whose key msgspec does not tell."""
    if "[...]" in path:
        return False, None
    for attribute, index in _STEP.findall(path):
        try:
            value = value[attribute or int(index)]
        except (TypeError, LookupError):
            return False, None
    return True, value


def _other(what: str) -> str:
    what = what.replace("Object missing required field", "missing field").replace("Invalid enum value", "invalid value")
    return _python(what[:1].lower() + what[1:])


def _python(text: str) -> str:
    return re.sub(r"`([^`]*)`", lambda found: re.sub(r"\w+", lambda word: _NAMES.get(word[0], word[0]), found[1]), text)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MAX_VALUE_CHARS else text[: MAX_VALUE_CHARS - 1] + "…"


def _refusal(
    message: str,
    command: str,
    argument: str | None,
    reason: str,
    expected: str | None,
    received: str | None,
    **more: Any,
) -> InvalidArgument:
    return InvalidArgument(
        message, command=command, argument=argument, reason=reason, expected=expected, received=received, **more
    )
