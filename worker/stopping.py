"""When a function that was told to stop by its flag is interrupted, and how often that is tried. Time is an argument.

For the control thread alone. A request leaves the list when it has ended or was interrupted: it is interrupted once.
A hook of a session stands in no list, as it knows its own time: it is looked after each time that this thread wakes.
"""

from __future__ import annotations

import math

from maitred.protocol.limits import INTERRUPT_AFTER_S
from maitred.worker.interrupt import Window
from maitred.worker.running import Run

__all__ = ["Stopping"]

KNOCK_AGAIN_S = 0.01
"""Where the function was in code that must not be interrupted, it is looked after again."""


class Stopping:
    """The requests that were told to stop.

    Args:
        window: what they run in.
    """

    def __init__(self, window: Window) -> None:
        self._window = window
        self._due: dict[Run, float] = {}

    def told(self, run: Run, now: float) -> None:
        """Its flag is set; a second word does not give it more time."""
        if run.interruptible:
            self._due.setdefault(run, now + INTERRUPT_AFTER_S)

    def tick(self, now: float) -> None:
        """Interrupt what is due."""
        for run, due in list(self._due.items()):
            if run.ended or run.interrupted:
                del self._due[run]
            elif now >= due:
                run.overdue = True
                self._window.knock()
                self._due[run] = now + KNOCK_AGAIN_S

    def look_after_hooks(self) -> None:
        """Interrupt the hook that runs, where its time is over."""
        self._window.knock()

    def next_deadline(self) -> float:
        """When `tick` has something to do; infinity where nothing is."""
        return min(self._due.values(), default=math.inf)
