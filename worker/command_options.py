"""What may be said of a command beside its function: read when it is registered, and refused there."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from maitred.protocol.limits import MAX_SLOTS, MAX_TIMEOUT_S

__all__ = ["CommandOptions", "read_options"]

_OPTIONS = ("idempotent", "batch", "max_wait")


class CommandOptions(Struct, frozen=True):
    """The options of one command.

    Attributes:
        idempotent: whether it may be run again where a worker died with it.
        batch: so many requests are run as one call at most, which takes lists; 0: each has a call of its own.
        max_wait_s: how long a batch that is smaller than the last one waits for more.
    """

    idempotent: bool = False
    batch: int = 0
    max_wait_s: float = 0.0


def read_options(given: dict[str, Any]) -> CommandOptions:
    """Check what was given to `@service.command`.

    Raises:
        TypeError: an unknown option, or a value of another type.
        ValueError: a number out of bounds.
    """
    for option in given:
        if option not in _OPTIONS:
            raise TypeError(f"@service.command has no option {option!r}; it has: {', '.join(_OPTIONS)}")
    idempotent = given.get("idempotent", False)
    if not isinstance(idempotent, bool):
        raise TypeError(f"@service.command: idempotent must be True or False, not {idempotent!r}")
    return CommandOptions(idempotent, _batch(given.get("batch")), _max_wait(given))


def _batch(value: Any) -> int:
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"@service.command: batch must be a number of requests, not {value!r}")
    if not 1 <= value <= MAX_SLOTS:
        raise ValueError(f"@service.command: batch must be 1 to {MAX_SLOTS}, not {value}")
    return value


def _max_wait(given: dict[str, Any]) -> float:
    if "max_wait" not in given:
        return 0.0
    if given.get("batch") is None:
        raise TypeError("@service.command: max_wait is for batches; say batch=N, too")
    from maitred.config.units import parse_duration  # here: few commands wait, and a configuration takes long to import

    value = given["max_wait"]
    try:
        seconds = parse_duration(value)
    except ValueError as error:
        raise TypeError(f"@service.command: max_wait: {error}") from None
    if seconds > MAX_TIMEOUT_S:
        raise ValueError(f"@service.command: max_wait must be at most {MAX_TIMEOUT_S:g} seconds, not {seconds:g}")
    return seconds
