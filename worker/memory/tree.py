"""Who is whose child on this host: one reading of /proc, shared by all workers that are looked at in a row."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import psutil

__all__ = ["Tree"]

SHARE = 1 / 20
"""Of one core, the most that reading the whole of /proc may take: 15 µs for each process on the host. A child is noticed
later where there are thousands."""


class Tree:
    """The processes of this host.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._children: dict[int, list[int]] = {}
        self._stale_at = float("-inf")

    def below(self, pid: int) -> list[int]:
        """The process itself and whoever descends from it, as last read; one that lost its parent is not found."""
        self._refresh()
        found = [pid]
        for one in found:  # grows on the way
            found.extend(self._children.get(one, ()))
        return found

    def forget(self) -> None:
        """Read again the next time."""
        self._stale_at = float("-inf")

    def _refresh(self) -> None:
        now = self._clock()
        if now < self._stale_at:
            return
        children: defaultdict[int, list[int]] = defaultdict(list)
        for pid, parent in _parents():
            children[parent].append(pid)
        self._children = dict(children)
        end = self._clock()
        self._stale_at = end + (end - now) / SHARE


def _parents() -> list[tuple[int, int]]:
    if not Path("/proc/self/stat").exists():
        return [(p.pid, p.info["ppid"] or 0) for p in psutil.process_iter(["ppid"]) if p.pid]
    found: list[tuple[int, int]] = []
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    line = file.read()
            except (FileNotFoundError, ProcessLookupError):
                continue
            found.append((int(name), int(line[line.rindex(b")") + 4 :].split(None, 1)[0])))
    return found
