"""When the next request of a load is due, and from when its time counts. Shared by all drivers; no I/O."""

from __future__ import annotations

from maitred.benchmarks.method.load import Flow, Load, due_ns
from maitred.benchmarks.method.recorder import now_ns

__all__ = ["Pace"]


class Pace:
    """One carrying-out of a load. Made at its beginning; not thread-safe.

    Attributes:
        flow: what came of it; the driver adds the answers.
    """

    def __init__(self, load: Load) -> None:
        self.flow = Flow(began_ns=now_ns())
        self._due = due_ns(load) if load.rate_per_s > 0 else None
        self._left = len(self._due) if self._due is not None else load.requests
        self._end_ns = None if load.seconds is None or self._due is not None else _after(self.flow, load.seconds)
        self._taken = 0

    def next_due_ns(self) -> int | None:
        """When the next one is to be sent: a time that may be over or to come; None when there is none."""
        if self._left is not None and self._taken >= self._left:
            return None
        if self._due is not None:
            return self.flow.began_ns + self._due[self._taken]
        now = now_ns()
        return None if self._end_ns is not None and now >= self._end_ns else now

    def take(self, due: int) -> int:
        """Mark one as being sent now; returns `due`, from when its time counts."""
        self._taken += 1
        if self._due is not None:
            self.flow.lag.append(max(0, now_ns() - due))
        return due

    def end(self) -> Flow:
        """All answers are there."""
        self.flow.ended_ns = now_ns()
        return self.flow


def _after(flow: Flow, seconds: float) -> int:
    return flow.began_ns + int(seconds * 1e9)
