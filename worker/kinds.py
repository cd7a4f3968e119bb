"""What kind of function an application has given us, and what it is called in messages about it."""

from __future__ import annotations

import enum
import inspect
from typing import Any

from maitred.worker.signature import layers

__all__ = ["Kind", "kind_of", "label_of"]


class Kind(enum.Enum):
    """How a command's function is run."""

    SYNC = "sync"
    GENERATOR = "generator"
    ASYNC = "async"
    ASYNC_GENERATOR = "async generator"

    @property
    def streams(self) -> bool:
        """Whether it yields."""
        return self in (Kind.GENERATOR, Kind.ASYNC_GENERATOR)


def kind_of(function: Any) -> Kind:
    """What a function is, or the innermost that it wraps."""
    for layer in layers(function):
        if inspect.isasyncgenfunction(layer):
            return Kind.ASYNC_GENERATOR
        if inspect.isgeneratorfunction(layer):
            return Kind.GENERATOR
        if inspect.iscoroutinefunction(layer):
            return Kind.ASYNC
    return Kind.SYNC


def label_of(function: Any) -> str:
    """Where it is written: module and name."""
    inner = layers(function)[-1]
    return f"{getattr(inner, '__module__', '?')}.{getattr(inner, '__qualname__', repr(inner))}"
