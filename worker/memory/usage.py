"""What is known of a worker's memory, and what every mode of keeping it can be asked."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

__all__ = ["SOFT", "Keeper", "Usage", "Watch", "judge"]

SOFT = 0.9
"""Share of the limit from which a worker is replaced after its request: what is left lets most requests finish."""


class Usage(Struct, frozen=True):
    """One look at a worker and its children.

    Attributes:
        rss: anonymous, shared and swapped-out memory, bytes; pages of files do not count, as the kernel can take them
            back. 0 where the process is gone.
        peak: the most so far, bytes. From the kernel in the cgroup modes, where pages of files count; the most that
            any look saw in the others.
        limit: bytes; None: there is none.
        over_soft: it has `SOFT` of its limit, or more.
        over_hard: it has reached its limit.
        oom_killed: the kernel has killed a process of it for want of memory.
    """

    rss: int
    peak: int
    limit: int | None = None
    over_soft: bool = False
    over_hard: bool = False
    oom_killed: bool = False


def judge(rss: int, peak: int, limit: int | None, oom_killed: bool = False) -> Usage:
    """Hold what was seen against the limit."""
    if limit is None:
        return Usage(rss, peak, oom_killed=oom_killed)
    return Usage(rss, peak, limit, rss >= limit * SOFT or oom_killed, rss >= limit or oom_killed, oom_killed)


class Watch(Protocol):
    """One worker's memory. Nothing here raises for a process that is gone."""

    def look(self) -> Usage:
        """What it has now; in the cgroup modes also after its death, until `close`."""
        ...

    def kill(self) -> bool:
        """SIGKILL for every process of the worker, also those that left its process group or its parent.

        Returns:
            False where no such list of processes is kept ("polling" and ""): nobody was killed.
        """
        ...

    def close(self) -> None:
        """The worker is dead: end what it left behind, where `kill` could, and forget it. Repeatable."""
        ...


class Keeper(Protocol):
    """Keeps one pool's limit on this host."""

    @property
    def mode(self) -> str:
        """One of "cgroup2", "cgroup1", "polling", or "" where there is no limit to keep."""
        ...

    @property
    def why(self) -> str:
        """Why no better mode is in force; empty for the best."""
        ...

    def adopt(self, pid: int) -> Watch:
        """Watch a worker that has just been started, and all its children from now on."""
        ...

    def close(self) -> None:
        """Every worker is dead: leave nothing behind. Repeatable."""
        ...
