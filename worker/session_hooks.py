"""What a service does with the sessions of its process: opened, closed, their state kept and given back. Only a table.

    @service.session_opened             before the first request of a session, here
    def begin(session): ...

    @service.session_closed             after the last one, whatever the reason
    def end(session, reason): ...

    @service.snapshot(interval="10s")   the state as a value that can be sent, after a request that went well
    def save(session): ...

    @service.restore                    a value of `snapshot`, in the next process; after session_opened
    def load(session, value): ...

Each may be async, and there is one of each kind at most. What is wrong with one is found when it is registered.
One that takes longer than `hook_limit.HOOK_LIMIT_S` is stopped, and counts as having raised.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, overload

import msgspec

from maitred.protocol.limits import MAX_MESSAGE_BYTES, MAX_TIMEOUT_S
from maitred.worker.kinds import Kind, kind_of, label_of

__all__ = ["DEFAULT_MAX_BYTES", "Hook", "Hooks", "SessionHooks", "SnapshotOptions"]

DEFAULT_MAX_BYTES = 64 * 1024 * 1024
"""Of one snapshot: the broker keeps the last one of each session in memory."""

_OPENED = "`session`, or `session` and `context`"

F = TypeVar("F", bound=Callable[..., Any])


class Hook(msgspec.Struct, frozen=True):
    """One of the functions above, and its kind as it is written there; `takes_context` is for the first kind alone."""

    kind: str
    function: Callable[..., Any]
    is_async: bool
    takes_context: bool = False


class SnapshotOptions(msgspec.Struct, frozen=True):
    """How often the state of a session is taken, at most, and up to which size it is sent."""

    interval_s: float = 0.0
    max_bytes: int = DEFAULT_MAX_BYTES


class Hooks(msgspec.Struct):
    """What was registered; None where nothing was."""

    opened: Hook | None = None
    closed: Hook | None = None
    snapshot: Hook | None = None
    restore: Hook | None = None
    options: SnapshotOptions = SnapshotOptions()

    @property
    def needs_trio(self) -> bool:
        """Whether one of them is async."""
        return any(hook is not None and hook.is_async for hook in self._all())

    def missing(self) -> str | None:
        """What has to be registered besides, in words: a state that is taken must be given back."""
        if self.snapshot is not None and self.restore is None:
            return f"@service.snapshot ({label_of(self.snapshot.function)}) needs a @service.restore"
        return None

    def _all(self) -> tuple[Hook | None, ...]:
        return self.opened, self.closed, self.snapshot, self.restore


class SessionHooks:
    """The part of a `Service` that is about sessions.

    Attributes:
        hooks: what was registered.
    """

    def __init__(self) -> None:
        self.hooks = Hooks()

    def session_opened(self, function: F) -> F:
        """Register what runs before the first request of a session in this process: make what its state begins with.

        The function takes the session, or the session and a `Context`. Where it raises, the session is not opened, and
        the caller is told.

        Raises:
            TypeError: it takes something else, yields, or is the second one.
        """
        takes_context = _takes(function, 2)
        hook = _hook("session_opened", function, self.hooks.opened, 2 if takes_context else 1, _OPENED)
        self.hooks.opened = msgspec.structs.replace(hook, takes_context=takes_context)
        return function

    def session_closed(self, function: F) -> F:
        """Register what runs after the last request of a session: give back what it holds.

        The function takes the session and the reason: "closed" (by its caller), "expired", "drain" (this process is
        about to end), "lost" (another process has it now), or "failed" (its state could not be restored). What it
        raises is logged. It does not run where the process is killed.

        Raises:
            TypeError: it takes something else, yields, or is the second one.
        """
        self.hooks.closed = _hook("session_closed", function, self.hooks.closed, 2, "`session` and `reason`")
        return function

    @overload
    def snapshot(self, function: F, /) -> F: ...

    @overload
    def snapshot(
        self, function: None = None, /, *, interval: str | float = 0.0, max_bytes: str | int = DEFAULT_MAX_BYTES
    ) -> Callable[[F], F]: ...

    def snapshot(self, function: Any = None, /, **options: Any) -> Any:
        """Register what makes a value of a session's state, so that the session outlives this process.

        The function takes the session. What it returns must be encodable, as a result is; None: there is nothing to
        keep. It runs after the answer to a request was sent, and before the next request of the session begins.

        Args:
            function: it, where no option is given.
            options: `interval`: so often at most, as "10s" or in seconds; the state after the last request is always
                taken, when the interval is over or the session has been idle for a second. `max_bytes`: what is larger
                is not sent, as "64MiB" or in bytes.

        Raises:
            TypeError: it takes something else, yields, or is the second one; an unknown option.
            ValueError: an option out of bounds.
        """
        read = _read_options(options)

        def register(function: Any) -> Any:
            self.hooks.snapshot = _hook("snapshot", function, self.hooks.snapshot, 1, "one `session`")
            self.hooks.options = read
            return function

        return register if function is None else register(function)

    def restore(self, function: F) -> F:
        """Register what gives a session the state that it had elsewhere: the session, and a value of `snapshot`.

        It runs after `session_opened`, which made the session as if it were new. Where it raises, the session is lost.

        Raises:
            TypeError: it takes something else, yields, or is the second one.
        """
        self.hooks.restore = _hook("restore", function, self.hooks.restore, 2, "`session` and `value`")
        return function


def _hook(kind: str, function: Any, before: Hook | None, count: int, wanted: str) -> Hook:
    label = label_of(function)
    if not callable(function):
        raise TypeError(f"@service.{kind} must stand above a function, not {function!r}")
    if before is not None:
        raise TypeError(f"@service.{kind} is registered twice: {label_of(before.function)}, {label}")
    if not _takes(function, count):
        raise TypeError(f"@service.{kind}: {label} must take {wanted}")
    found = kind_of(function)
    if found.streams:
        raise TypeError(f"@service.{kind}: {label} must not yield")
    return Hook(kind, function, found is Kind.ASYNC)


def _takes(function: Any, count: int) -> bool:
    """Whether it can be called with so many values, and needs them all."""
    if not callable(function):
        return False
    signature = inspect.signature(function)
    required = [
        item
        for item in signature.parameters.values()
        if item.default is item.empty and item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD)
    ]
    varying = any(item.kind is item.VAR_POSITIONAL for item in signature.parameters.values())
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return varying or len(required) == count


def _read_options(given: dict[str, Any]) -> SnapshotOptions:
    if not given:
        return SnapshotOptions()
    from maitred.config.units import parse_duration, parse_size  # here: it takes long to import, and few say so

    for option in given:
        if option not in ("interval", "max_bytes"):
            raise TypeError(f"@service.snapshot has no option {option!r}; it has: interval, max_bytes")
    try:
        interval_s = parse_duration(given.get("interval", 0.0))
        max_bytes = parse_size(given.get("max_bytes", DEFAULT_MAX_BYTES))
    except ValueError as error:
        raise TypeError(f"@service.snapshot: {error}") from None
    if interval_s > MAX_TIMEOUT_S:
        raise ValueError(f"@service.snapshot: interval must be at most {MAX_TIMEOUT_S:g} seconds, not {interval_s:g}")
    if not 1 <= max_bytes <= MAX_MESSAGE_BYTES:
        raise ValueError(f"@service.snapshot: max_bytes must be 1 to {MAX_MESSAGE_BYTES}, not {max_bytes}")
    return SnapshotOptions(interval_s, max_bytes)
