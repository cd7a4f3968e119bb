"""A pool's workers that have room, by how much they hold."""

from __future__ import annotations

from maitred.broker.core.model import Worker

LOOKED_AT = 16
"""Workers that are looked at for room to send a short request ahead."""


class ByLoad:
    """The least loaded, longest waiting worker is found in O(slots)."""

    __slots__ = ("_levels", "_where")

    def __init__(self) -> None:
        self._levels: dict[int, dict[bytes, Worker]] = {}
        self._where: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, worker: Worker) -> bool:
        return worker.id in self._where

    def place(self, worker: Worker) -> None:
        """Put the worker where its load says, or nowhere if it may take nothing. Call after every change of it."""
        self.remove(worker)
        load = worker.load
        if worker.has_room(load):
            level = self._levels.get(load)
            if level is None:
                level = self._levels[load] = {}
            level[worker.id] = worker
            self._where[worker.id] = load

    def remove(self, worker: Worker) -> None:
        """Take the worker out."""
        load = self._where.pop(worker.id, None)
        if load is not None:
            level = self._levels[load]
            del level[worker.id]
            if not level:
                del self._levels[load]

    def least(self) -> Worker | None:
        """The worker to give the next request to, or None where none has room."""
        if not self._levels:
            return None
        return next(iter(self._levels[min(self._levels)].values()))

    def taking(self, expected_s: float) -> Worker | None:
        """The least loaded one that may take a request of so many seconds; None where that is none of those looked at.

        One that runs something long may hold as little as another, and take nothing more all the same.
        """
        looked_at = 0
        for load in sorted(self._levels):
            for worker in self._levels[load].values():
                if worker.may_take(expected_s):
                    return worker
                looked_at += 1
                if looked_at == LOOKED_AT:
                    return None
        return None


class Shut(ByLoad):
    """Takes nobody: that of a pool that is paused."""

    __slots__ = ()

    def place(self, worker: Worker) -> None:
        """Leave the worker out."""
