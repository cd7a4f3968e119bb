"""Puts the requests together that the broker sends as one batch: DISPATCHes that follow each other, `more` counting down.

A request that belongs to none is a group by itself, at once. So is what is left of a batch whose rest does not come, as
its connection broke: what came is run, a smaller batch, and what did not come was never given to this worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from maitred.protocol.messages import Dispatch
from maitred.worker.service import Command

__all__ = ["Arrived", "Gathering"]


Arrived = tuple[Dispatch, Sequence[Any], float]
"""A request that nothing was done with yet: the order, its body, and when it came, in seconds of `time.monotonic()`. A
plain tuple, as each request passes through here: one with names takes ten times as long to make."""


class Gathering:
    """The batch that is on its way, if one is.

    Args:
        commands: the service's, by name.
    """

    def __init__(self, commands: Mapping[str, Command]) -> None:
        self._commands = commands
        self._group: list[Arrived] = []

    def add(self, order: Dispatch, body: Sequence[Any], now: float) -> list[list[Arrived]]:
        """Take in a request; returns the groups that are complete by it."""
        if not (order.more or self._group):
            return [[(order, body, now)]]
        command = self._commands.get(order.command)
        room = command.batch if command is not None else 0
        complete = [] if self._goes_on_with(order, room) else self.rest()
        self._group.append((order, body, now))
        return complete if order.more and len(self._group) < room else [*complete, *self.rest()]

    def rest(self) -> list[list[Arrived]]:
        """What has come of a batch that is not complete: it is not waited for any longer."""
        group, self._group = self._group, []
        return [group] if group else []

    def _goes_on_with(self, order: Dispatch, room: int) -> bool:
        if not self._group:
            return True
        last, _, _ = self._group[-1]
        return len(self._group) < room and last.command == order.command and last.more == order.more + 1
