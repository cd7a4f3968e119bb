"""What went wrong, in words for who typed the command: what it was, what to do, and the exit code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, cast

from maitred.cli.output import Exit, cell, fail
from maitred.client.errors import MaitredError, PermissionDenied, RemoteError, Unauthenticated, Unavailable
from maitred.config.rundir import run_dir

__all__ = ["described", "is_no_broker", "report"]

START_ONE = "start one on this host with `maitred up`, or say where it is: `maitred --endpoint tcp://host:5750 …`"

LAST_WORDS = 10
"""Lines of a dead worker's standard error that are shown; `maitred workers show` has all that were kept."""

KEYS = {
    "key_needed": "show one: `maitred --key FILE …`, or set MAITRED_KEY; `maitred keys new`, where the broker is, makes it",
    "refused": "show a key that is authorised (--key FILE, or MAITRED_KEY); whoever runs the broker authorises one in its "
    "authorisation file, and then says `maitred reload`",
    "no_keys": "leave --key out, and unset MAITRED_KEY",
    "other_broker": "show a key for this broker: --key FILE, or MAITRED_KEY",
}
"""What to do, by the reason of an `Unauthenticated`."""

RIGHTS = {
    "operate": "a key of role operator may (`maitred keys new`), and on its host the broker's own user",
    "read": "a key of role operator may",
    "call": "whoever runs the broker can allow it: `call` of this key in the authorisation file, then `maitred reload`",
    "serve": "a key of role worker or agent may serve the pools that its `serve` names",
}
"""Who may, by the right that was missing (docs/authorisation.md)."""


def is_no_broker(error: MaitredError) -> bool:
    """Whether it means that no broker could be reached at all."""
    return isinstance(error, Unavailable) and error.details.get("reason") == "no_broker"


def described(error: MaitredError) -> str:
    """The error in one line, without what to do about it."""
    if is_no_broker(error) and not error.details.get("address"):
        return f"no broker runs here, as far as {run_dir()} tells"
    if isinstance(error, Unauthenticated):  # what to do stands behind a colon, in words for programmers
        return error.message.rpartition(": ")[0] if error.details.get("reason") in KEYS else error.message
    return error.message


def report(error: MaitredError) -> NoReturn:
    """Put an error of the client library into words and end with the exit code for it."""
    text = described(error)
    if is_no_broker(error):
        fail(f"{text}; {START_ONE}", Exit.NO_BROKER)
    traceback = str(error.details.get("traceback") or "").rstrip()
    if isinstance(error, RemoteError) and traceback not in (
        "",
        text,
    ):  # the same where no line of the application raised
        text = f"{text}\n{traceback}"
    fail("\n  ".join([f"{type(error).__name__}: {text}", *_hints(error)]), Exit.FAILED)


def _hints(error: MaitredError) -> Iterable[str]:
    details = error.details
    if isinstance(error, Unauthenticated) and details.get("reason") in KEYS:
        yield KEYS[details["reason"]]
    if isinstance(error, PermissionDenied):
        yield from _missing(details)
    if details.get("suggestion"):
        yield f"suggestion: {details['suggestion']}"
    if details.get("retry_after") is not None:
        yield f"retry after: {cell('retry_after', float(details['retry_after']))}"
    yield from _certificate(cast("dict[str, Any]", details.get("certificate") or {}))


def _missing(details: Mapping[str, Any]) -> Iterable[str]:
    missing = details.get("missing")
    if missing:
        yield f"missing: {missing}"
    if details.get("allowed"):
        yield f"allowed: {', '.join(map(str, details['allowed']))}"
    if missing in RIGHTS:
        yield RIGHTS[missing]


def _certificate(certificate: Mapping[str, Any]) -> Iterable[str]:
    for key in ("cause", "signal", "exit_code", "pid", "age", "served"):
        if certificate.get(key) is not None:
            yield f"{key}: {cell(key, certificate[key])}"
    if certificate.get("stderr"):
        yield "its last words:"
        yield from (f"  {line}" for line in str(certificate["stderr"]).splitlines()[-LAST_WORDS:])
    if certificate.get("worker"):
        yield f"all of it: `maitred workers show {str(certificate['worker'])[:8]}`"
