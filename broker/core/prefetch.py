"""How many requests a worker is given at a time: as many as hide the round trip, and none that would wait for long.

A worker that runs one request at a time stands idle for a round trip after each. Where requests are short that is most
of the time, so a few more are sent ahead; where they are long it is nothing, and a request that waits behind a long one
while another worker turns idle has been put in the wrong line. So each command's time is measured, where it runs:

    a request is sent ahead to a busy worker while what that worker holds is expected to be done
    within a round trip, or within MAX_WAIT_S if it holds only one.

A command that was never measured counts as long. One that turned slow unexpectedly is found out by LOOK_INTERVAL_S:
what waits behind it is recalled, and goes to others.
"""

from __future__ import annotations

__all__ = ["FIRST_ROUND_TRIP_S", "LOOK_INTERVAL_S", "MAX_WAIT_S", "UNKNOWN_S", "ServiceTimes", "smooth_round_trip"]

MAX_WAIT_S = 0.002
"""Expected time that one request may wait behind one other on a busy worker: a fifth of what is called long (10 ms), and
enough for tasks of a millisecond, which without it lose a quarter of their worker's time to the round trip."""

UNKNOWN_S = 1.0
"""What a request counts whose command was never measured: nothing is sent behind it, and it is sent behind nothing."""

FIRST_ROUND_TRIP_S = 0.0003
"""Assumed until measured: that of a worker on the same host."""

LOOK_INTERVAL_S = 0.01
"""How often workers that hold more than they run are looked at: who still runs the same request is slow."""

RISE = 0.5
FALL = 0.02
"""Weight of a measurement above, and below, what was expected: a command that turns slow is believed at once, one that
turns fast after some dozens."""

ROUND_TRIP_WEIGHT = 0.1
MAX_ROUND_TRIP_S = 0.01


class ServiceTimes:
    """How long each command of a pool is expected to run."""

    __slots__ = ("_expected",)

    def __init__(self) -> None:
        self._expected: dict[str, float] = {}

    def expected(self, command: str) -> float:
        """Seconds."""
        return self._expected.get(command, UNKNOWN_S)

    def measured(self, command: str, ran_s: float) -> None:
        """Take down how long one ran. The pool's commands bound the number of entries."""
        before = self._expected.get(command)
        if before is None:
            self._expected[command] = ran_s
        else:
            self._expected[command] = before + (RISE if ran_s > before else FALL) * (ran_s - before)


def smooth_round_trip(before: float, took_s: float) -> float:
    """The round trip, with one more measured: what a request took beyond its own time on an idle worker."""
    return before + ROUND_TRIP_WEIGHT * (min(max(took_s, 0.0), MAX_ROUND_TRIP_S) - before)
