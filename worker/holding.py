"""Answers that wait for each other, to leave as one message: only while the next request is there, and all is short.

    answer → hold → hold → let go, together          nothing is held while a function runs that may take long

An answer that is held is not handed to ZeroMQ yet: its request still counts as running, here and on the started page.
Who dies then has lost the work of `HOLD_S`.
"""

from __future__ import annotations

import math

from maitred.protocol.frames import Frames
from maitred.worker.running import Run

__all__ = ["HOLD_S", "SHORT_S", "Holding"]

SHORT_S = 100e-6
"""A request that took longer has its answer sent at once, and what was held with it; and so has one whose command was
measured longer, before it is run. A message of its own costs a tenth of that."""

HOLD_S = 300e-6
"""The oldest answer is held no longer than this: less than the round trip that its caller waits for anyway."""

FALL = 0.1
"""Weight of a measurement below what was measured before: after a run of 10 ms a command is trusted again after some fifty
short ones. Slower, and a busy machine, where one run in a hundred is pushed aside amid, would hold nothing."""


class Holding:
    """The answers that are held, oldest first, and how long each command takes."""

    def __init__(self) -> None:
        self._held: list[tuple[Run, Frames]] = []
        self._since = 0.0
        self._times: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._held)

    def must_go(self, command: str, now: float) -> bool:
        """Whether what is held has to leave before a request of this command is run; seconds of any clock."""
        return bool(self._held) and (now - self._since > HOLD_S or self._times.get(command, math.inf) > SHORT_S)

    def hold(self, run: Run, answer: Frames, ran_s: float, now: float) -> bool:
        """Take in an answer and how long its request took; False where it has to leave at once."""
        command = run.order.command
        before = self._times.get(command, 0.0)
        self._times[command] = max(ran_s, before + FALL * (ran_s - before))
        if not self._held:
            self._since = now
        self._held.append((run, answer))
        return ran_s <= SHORT_S

    def take(self) -> list[tuple[Run, Frames]]:
        """Give them up, to be sent."""
        held, self._held = self._held, []
        return held
