"""What stands in for a key where there is none: the secret, asked for each time that a process introduces itself.

A connection is made again by itself, and whoever listens there by then may be somebody else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

__all__ = ["Show", "show_nothing"]

Show: TypeAlias = Callable[[], str | None]
"""The secret to show now, "" for none; None: nothing is to be said now, and it is asked again. Must not block."""


def show_nothing() -> str:
    """For who has a key, or needs none."""
    return ""
