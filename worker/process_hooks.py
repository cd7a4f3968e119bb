"""What a service does for its process, and for no request: before workers are forked, once in each, and when it is asked.

    @service.preload          once for all workers of a pool: imports
    @service.startup          once in each process, before it takes requests: load the model
    @service.health_check     in each process, every `health_check_interval` while it is idle: is the GPU still there?

Only a table. What is wrong with a function is found when it is registered.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from maitred.worker.context import Context
from maitred.worker.kinds import Kind, kind_of, label_of

__all__ = ["ProcessHook", "ProcessHooks"]

F = TypeVar("F", bound=Callable[..., Any])


class ProcessHook(msgspec.Struct, frozen=True):
    """One of the functions that take nothing, or the `Context` of the process."""

    function: Callable[..., Any]
    is_async: bool
    takes_context: bool

    def call(self, context: Context) -> Any:
        """Call it; what an async one returns is to be awaited."""
        return self.function(context) if self.takes_context else self.function()


class ProcessHooks:
    """The part of a `Service` that is about its process."""

    def __init__(self) -> None:
        super().__init__()
        self._startups: list[ProcessHook] = []
        self._preloads: list[Callable[[], object]] = []
        self._health_check: ProcessHook | None = None

    @property
    def startups(self) -> tuple[ProcessHook, ...]:
        """The startup functions, in the order registered."""
        return tuple(self._startups)

    @property
    def preloads(self) -> tuple[Callable[[], object], ...]:
        """The preload functions, in the order registered."""
        return tuple(self._preloads)

    @property
    def checks_health(self) -> ProcessHook | None:
        """The health check, None where there is none."""
        return self._health_check

    def preload(self, function: F) -> F:
        """Register what runs once for all workers of a pool, before they are forked: imports that take long.

        The function takes nothing. It must start no thread and open no GPU, file or connection: none survives a fork.
        What it raises is printed, and no more: the pool starts without it. Where workers are spawned it does not run.

        Raises:
            TypeError: it takes arguments, is async, or streams.
        """
        label = label_of(function)
        if inspect.signature(function).parameters or kind_of(function) is not Kind.SYNC:
            raise TypeError(f"@service.preload: {label} must be a plain function that takes nothing")
        self._preloads.append(function)
        return function

    def startup(self, function: F) -> F:
        """Register what runs once per process, before it takes requests: load the model here.

        The function, sync or async, takes nothing or the `Context` of the process (which has no deadline). Where it
        raises, the process ends and its agent reports the pool degraded.

        Raises:
            TypeError: it takes more than a context, or streams.
        """
        self._startups.append(_hook("startup", function))
        return function

    def health_check(self, function: F) -> F:
        """Register what says whether this process can still serve: the GPU works, a connection is alive.

        The function, sync or async, takes nothing or the `Context` of the process. It runs while the worker is idle,
        every `health_check_interval` of its pool: be quick, as the next request may wait for it. There is a problem
        where it raises, returns a text (which says what is wrong), or False, or anything else that counts as false but
        None; the worker is replaced then. One that does not return for a whole interval is no better: the worker is
        killed, and replaced.

        Where `concurrency` is above 1 a sync one runs in a thread.

        Raises:
            TypeError: it takes more than a context, streams, or is the second one.
        """
        hook = _hook("health_check", function)
        if self._health_check is not None:
            before = label_of(self._health_check.function)
            raise TypeError(f"@service.health_check is registered twice: {before}, {label_of(function)}")
        self._health_check = hook
        return function

    def _hook_needs_trio(self) -> bool:
        found = (*self._startups, *filter(None, [self._health_check]))
        return any(hook.is_async for hook in found)


def _hook(kind: str, function: Any) -> ProcessHook:
    label = label_of(function)
    if not callable(function):
        raise TypeError(f"@service.{kind} must stand above a function, not {function!r}")
    required = [
        item
        for item in inspect.signature(function).parameters.values()
        if item.default is item.empty and item.kind not in (item.VAR_POSITIONAL, item.VAR_KEYWORD)
    ]
    if len(required) > 1 or any(item.kind is item.KEYWORD_ONLY for item in required):
        raise TypeError(f"@service.{kind}: {label} must take nothing, or one `context`")
    found = kind_of(function)
    if found.streams:
        raise TypeError(f"@service.{kind}: {label} must not yield")
    return ProcessHook(function, found is Kind.ASYNC, len(required) == 1)
