"""When each request was sent and how it ended: for what happens at a moment of a run. Stands beside the `Flow`."""

from __future__ import annotations

import bisect
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from msgspec import Struct

from maitred.benchmarks.method.recorder import now_ns

__all__ = ["Ended", "Timeline", "first_from"]


class Ended(Struct, frozen=True):
    """One request.

    Attributes:
        sent_ns, ended_ns: by the clock of the measurements.
        error: None where it succeeded.
    """

    sent_ns: int
    ended_ns: int
    error: BaseException | None


class Timeline:
    """Keeps every request that goes through it.

    Args:
        on_end: told of each, in the thread that takes the answers in: it must not block.

    Attributes:
        ended: in the order in which they ended.
    """

    def __init__(self, on_end: Callable[[Ended], object] | None = None) -> None:
        self.ended: list[Ended] = []
        self._on_end = on_end

    def through(self, submit: Callable[[], Future[Any]]) -> Callable[[], Future[Any]]:
        """The same `submit`, with all that it starts kept here; what it refuses to start is not."""

        def submit_and_note() -> Future[Any]:
            sent_ns = now_ns()
            future = submit()
            future.add_done_callback(functools.partial(self._note, sent_ns))
            return future

        return submit_and_note

    def _note(self, sent_ns: int, future: Future[Any]) -> None:
        ended = Ended(sent_ns, now_ns(), future.exception())
        self.ended.append(ended)
        if self._on_end is not None:
            self._on_end(ended)

    def successes_ns(self) -> list[int]:
        """When requests succeeded, ascending."""
        return sorted(it.ended_ns for it in self.ended if it.error is None)


def first_from(times_ns: Sequence[int], moment_ns: int) -> int | None:
    """The first of ascending times that is not before a moment; None where all are."""
    place = bisect.bisect_left(times_ns, moment_ns)
    return times_ns[place] if place < len(times_ns) else None
