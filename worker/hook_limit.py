"""The time that a hook of a session has: without a limit, one that hangs would hold its worker for ever.

A plain one runs in the main thread and is interrupted as a function is (`worker.interrupt`): `Cancelled` is raised in it,
where it stands, within a second after its time. An async one ends at its next `await`.
"""

from __future__ import annotations

import time

from maitred.worker.context import Cancelled

__all__ = ["HOOK_LIMIT_S", "HookCall"]

HOOK_LIMIT_S = 30.0
"""As long as a request has whose caller says nothing: whoever opened the session does not wait longer either."""


class HookCall:
    """One call of one hook; it can be interrupted from when its time is over."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._limit_s = HOOK_LIMIT_S
        self._ends_at = time.monotonic() + self._limit_s
        self.interrupted = False

    @property
    def left_s(self) -> float:
        """Seconds that are left of its time, at least 0."""
        return max(0.0, self._ends_at - time.monotonic())

    @property
    def overdue(self) -> bool:
        """Whether its time is over."""
        return time.monotonic() >= self._ends_at

    def interrupt(self) -> Cancelled:
        """Note that it is interrupted; returns what is raised in it."""
        self.interrupted = True
        return Cancelled("deadline")

    def error(self) -> TimeoutError:
        """What a hook that was stopped counts as having raised."""
        return TimeoutError(f"@service.{self._kind} took longer than {self._limit_s:g} s")
