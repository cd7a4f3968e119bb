"""Limits by looking: where the kernel keeps none for us. What is taken and given back between two looks is not seen.

A look at one process takes 25 µs (/proc/PID/status), and counts twice what two processes of a tree share, as after a
fork. Nobody may be killed for that: from the soft limit on, the shares are read (/proc/PID/smaps_rollup), which takes
14 ms for each GiB of small pages, and therefore has a pace.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterable

import psutil

from maitred.worker.memory.tree import SHARE, Tree
from maitred.worker.memory.usage import SOFT, Usage, judge

__all__ = ["PollingKeeper"]

_OWN = re.compile(rb"^(?:RssAnon|RssShmem|VmSwap):\s*(\d+) kB", re.MULTILINE)
_SHARES = re.compile(rb"^(?:Pss_Anon|Pss_Shmem|SwapPss):\s*(\d+) kB", re.MULTILINE)
_GONE = (FileNotFoundError, ProcessLookupError)


class PollingKeeper:
    """Reads the process trees of workers.

    Args:
        limit_bytes: of one worker; None: there is none.
        mode: "polling" or "".
        why: why no better mode is in force.
        clock: seconds.
    """

    def __init__(
        self, limit_bytes: int | None, mode: str, why: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.mode = mode
        self.why = why
        self._limit = limit_bytes
        self._clock = clock
        self._tree = Tree(clock)

    def adopt(self, pid: int) -> PollingWatch:
        """Watch a worker."""
        return PollingWatch(pid, self._limit, self._tree, self._clock)

    def close(self) -> None:
        """There is nothing to leave behind."""


class PollingWatch:
    """One worker's process tree; made by `PollingKeeper.adopt`."""

    def __init__(self, pid: int, limit: int | None, tree: Tree, clock: Callable[[], float]) -> None:
        self._pid = pid
        self._limit = limit
        self._tree = tree
        self._clock = clock
        self._peak = 0
        self._shared = 0  # bytes that the cheap figure counts too often
        self._shared_among: list[int] = []
        self._shares_stale_at = 0.0

    def look(self) -> Usage:
        """What the tree has now."""
        pids = self._tree.below(self._pid)
        rss = _total(pids, _own_bytes)
        if self._limit is not None and rss >= self._limit * SOFT:
            rss -= self._counted_too_often(pids, rss)
        self._peak = max(self._peak, rss)
        return judge(rss, self._peak, self._limit)

    def _counted_too_often(self, pids: list[int], rss: int) -> int:
        now = self._clock()
        if pids != self._shared_among or now >= self._shares_stale_at:
            self._shared = max(0, rss - _total(pids, _share_bytes))
            self._shared_among = pids
            end = self._clock()
            self._shares_stale_at = end + (end - now) / SHARE
        return self._shared

    def kill(self) -> bool:
        """False: who left the tree is not known, and the others are the agent's to kill."""
        return False

    def close(self) -> None:
        """There is nothing to leave behind."""


def _total(pids: Iterable[int], bytes_of: Callable[[int], int]) -> int:
    return sum(map(bytes_of, pids))


def _own_bytes(pid: int) -> int:
    """What the process has, whoever else has it too; 0 when it is gone, or a zombie."""
    if sys.platform != "linux":
        try:
            return psutil.Process(pid).memory_info().rss
        except psutil.Error:
            return 0
    return _sum(_OWN, f"/proc/{pid}/status")


def _share_bytes(pid: int) -> int:
    """As `_own_bytes`, but a page that n processes have counts for one n-th."""
    try:
        return _sum(_SHARES, f"/proc/{pid}/smaps_rollup") if sys.platform == "linux" else _own_bytes(pid)
    except PermissionError:  # it runs as somebody else
        return _own_bytes(pid)


def _sum(fields: re.Pattern[bytes], path: str) -> int:
    try:
        with open(path, "rb") as file:
            return 1024 * sum(map(int, fields.findall(file.read())))
    except _GONE:
        return 0
