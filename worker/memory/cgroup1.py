"""Memory limits by control groups, version 1: what differs from version 2."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from maitred.worker.memory.groups import Reading, number, numbers, write
from maitred.worker.memory.mounts import check_writable, own_group

__all__ = ["Cgroup1"]

ROUNDS = 32
"""Readings of a group's processes while they are killed: each finds who was forked before the last one's signal came. A
group that still grows after so many forks without end; the limit on memory ends that."""


class Cgroup1:
    """The memory hierarchy of version 1. It has no `memory.oom.group`: the kernel kills one process of the group."""

    mode = "cgroup1"

    def base(self) -> Path:
        """Below which groups are made: our own group.

        Raises:
            Unavailable: there is none, or it is not ours.
        """
        own = own_group("cgroup1")
        check_writable(own)
        return own

    def prepare(self, home: Path) -> None:
        """Nothing is needed: whoever may make a group here may limit it."""

    def limit(self, group: Path, limit_bytes: int) -> None:
        """Set the hard limit, of memory and of memory with swap."""
        write(group / "memory.limit_in_bytes", limit_bytes)
        with contextlib.suppress(OSError):  # kernels that do not account for swap have no such file
            write(group / "memory.memsw.limit_in_bytes", limit_bytes)

    def read(self, group: Path) -> Reading:
        """What the group has, had, and whether the kernel killed in it."""
        stat = numbers(group / "memory.stat")
        rss = stat["total_rss"] + stat["total_shmem"] + stat.get("total_swap", 0)
        peak = number(group / "memory.max_usage_in_bytes")
        return Reading(rss, peak or rss, numbers(group / "memory.oom_control").get("oom_kill", 0))

    def kill(self, group: Path) -> None:
        """SIGKILL for all, again and again until nobody new is in it."""
        signalled: set[int] = set()
        for _ in range(ROUNDS):
            new = set(map(int, (group / "cgroup.procs").read_text().split())) - signalled
            if not new:
                return
            for pid in new:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            signalled |= new
