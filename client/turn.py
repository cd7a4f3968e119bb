"""Which requests of one event loop leave together: those that its tasks make in one turn of it.

answers come together → their tasks run, one after the other, and ask again → all of it leaves at the turn's end
a task asks alone → it leaves at once → another asks directly after it → this one waits for the turn's end
"""

from __future__ import annotations

import math

__all__ = ["SAME_TURN_S", "Turn"]

SAME_TURN_S = 100e-6
"""Requests that follow each other so closely are those of tasks that run in one turn: some times what a task takes between
two requests, and less than a caller would notice who comes by chance."""


class Turn:
    """What is known of this turn.

    Attributes:
        waiting: requests that leave at its end, and until when (monotonic s) each must have left.
    """

    __slots__ = ("_came", "_several", "_spoke_at", "waiting")

    def __init__(self) -> None:
        self.waiting: dict[int, float] = {}
        self._came = 0
        self._several = False
        self._spoke_at = -math.inf

    def came(self, messages: int) -> None:
        """So many messages were received."""
        self._came += messages

    def spoke(self, now: float) -> None:
        """A request was sent at once."""
        self._spoke_at = now

    def is_shared(self, now: float) -> bool:
        """Whether others ask in the same turn, as far as one can tell."""
        return bool(self.waiting) or self._several or now - self._spoke_at < SAME_TURN_S

    def end(self) -> dict[int, float]:
        """All that was there was received: a turn ends, and what waited leaves; the next one has the answers' tasks."""
        self._several, self._came = self._came > 1, 0
        if not self.waiting:
            return self.waiting
        waited, self.waiting = self.waiting, {}
        return waited
