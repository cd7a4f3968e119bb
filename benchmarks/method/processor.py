"""How much processor time the threads of some processes have used, and how often each was given a core. Linux."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from msgspec import Struct

__all__ = ["Used", "is_known", "used_by"]

ZEROMQ_IO = "/IO/"
"""In the names that libzmq gives its I/O threads, as "ZMQbg/IO/0"."""


class Used(Struct, frozen=True):
    """Processor time since a thread, or some threads, began.

    Attributes:
        own_ns: of all threads but libzmq's.
        io_ns: of libzmq's I/O threads.
        switches: times that any of them was given a core.
    """

    own_ns: int = 0
    io_ns: int = 0
    switches: int = 0

    def __add__(self, other: Used) -> Used:
        return Used(self.own_ns + other.own_ns, self.io_ns + other.io_ns, self.switches + other.switches)

    def __sub__(self, other: Used) -> Used:
        return Used(self.own_ns - other.own_ns, self.io_ns - other.io_ns, self.switches - other.switches)


def is_known() -> bool:
    """Whether this kernel counts it."""
    return Path("/proc/self/schedstat").exists()


def used_by(pids: Iterable[int]) -> Mapping[int, Used]:
    """What each process has used, by its id; those that are gone have used nothing. Nanoseconds, exact."""
    return {pid: _of_process(pid) for pid in pids}


def _of_process(pid: int) -> Used:
    total = Used()
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                total += _of_thread(thread)
    return total


def _of_thread(thread: Path) -> Used:
    # <Documentation/scheduler/sched-stats.rst>: time on a core in ns, time waiting for one, times given one
    ran, _, given = map(int, (thread / "schedstat").read_text().split())
    is_io = ZEROMQ_IO in (thread / "comm").read_text()
    return Used(0, ran, given) if is_io else Used(ran, 0, given)
