"""A worker or an agent that the broker does not let in: said once, and tried again, later each time.

Whoever runs the broker may add its key, or what the key may do, and reload; nobody has to start it again then.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable

from maitred.protocol.errors import MaitredError, PermissionDenied, Unauthenticated

__all__ = ["FIRST_PAUSE_S", "LONGEST_PAUSE_S", "PATIENCE_S", "TurnedAway", "may_change"]

PATIENCE_S = 5.0
"""At the start, after so long without a broker it is said that none answers: its address may be wrong."""

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
"""Between two tries, twice as long each time; drawn besides, as a pool's workers are refused all at once."""


def may_change(error: MaitredError) -> bool:
    """Whether a reload of the broker's authorisation file can make it go away."""
    return isinstance(error, Unauthenticated | PermissionDenied)


class TurnedAway:
    """What was said of it, and when to try again.

    Args:
        who: "this worker", or "this agent".
        say: prints a line.
    """

    def __init__(self, who: str, say: Callable[[str], object] = lambda text: print(text, file=sys.stderr)) -> None:
        self._who = who
        self._say = say
        self._said = ""
        self._pause_s = FIRST_PAUSE_S

    def note(self, error: MaitredError | None) -> None:
        """Say why, unless that is what was said last; None: it is let in."""
        text = "" if error is None else error.message
        if text and text != self._said:
            self._say(f"the broker refused {self._who}: {text}; it goes on trying")
        if not text:
            self._pause_s = FIRST_PAUSE_S
        self._said = text

    def note_silence(self, text: str) -> None:
        """Say that nobody has answered so far, unless more than that was said."""
        if not self._said:
            self._say(f"{text}; it goes on trying")

    def pause_s(self) -> float:
        """How long to wait until the next try."""
        pause_s, self._pause_s = self._pause_s, min(LONGEST_PAUSE_S, 2 * self._pause_s)
        return pause_s * random.uniform(0.8, 1.2)
