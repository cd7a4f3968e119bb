"""What waits for its turn, session by session: of each one thing at a time, in the order it came. No trio, no sockets.

A loop that runs several things at a time keeps one line of what it may begin. A session stands in it once, as a lane,
however much of it waits; when the lane's turn has come its first piece is run, and if there is more it goes to the end of
the line. So the order inside a session is kept, and one that has much to do holds up nobody else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable

from maitred.worker.gathering import Arrived
from maitred.worker.requests import Taken

__all__ = ["Lane", "Lanes", "Waiting", "Work"]


class Waiting:
    """Requests that wait in a lane: they may be recalled until they are taken.

    Args:
        group: what came together.
        take: begins with them (`Requests.take_all`).
    """

    __slots__ = ("_group", "_take", "_taken")

    def __init__(self, group: Iterable[Arrived], take: Callable[[Iterable[Arrived]], list[Taken]]) -> None:
        self._group = group
        self._take = take
        self._taken: list[Taken] | None = None

    def take(self) -> list[Taken]:
        """Begin with them, once."""
        if self._taken is None:
            self._taken = self._take(self._group)
        return self._taken


Work = Waiting | Callable[[], Awaitable[object]]
"""Requests, or what the broker said of the session itself."""


class Lane:
    """One session's."""

    __slots__ = ("session", "work")

    def __init__(self, session: bytes) -> None:
        self.session = session
        self.work: deque[Work] = deque()


class Lanes:
    """All that have something waiting or running."""

    def __init__(self) -> None:
        self._lanes: dict[bytes, Lane] = {}

    def add(self, session: bytes, work: Work) -> Lane | None:
        """Have it wait; returns the lane where it is to be put into the line, None where it stands there, or runs."""
        lane = self._lanes.get(session)
        if lane is not None:
            lane.work.append(work)
            return None
        lane = self._lanes[session] = Lane(session)
        lane.work.append(work)
        return lane

    def ran(self, lane: Lane) -> bool:
        """The piece that was begun has ended; returns whether the lane goes to the end of the line."""
        if lane.work:
            return True
        del self._lanes[lane.session]
        return False

    def hold(self) -> None:
        """Take all requests that wait: the broker is about to be told what this process holds."""
        for lane in self._lanes.values():
            for work in lane.work:
                if isinstance(work, Waiting):
                    work.take()

    def sessions(self) -> list[bytes]:
        """Those that have a lane."""
        return list(self._lanes)
