"""Memory limits by control groups, version 2: what differs from version 1, and how a controller is had at all.

A group that hands controllers to groups below may have no processes of its own. So whoever is in ours, in a subtree that
was given to us, moves one level down first, into `LEAF`; agents that come later find themselves there.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from maitred.worker.memory.groups import Reading, number, numbers, write
from maitred.worker.memory.mounts import Unavailable, check_writable, own_group

__all__ = ["LEAF", "Cgroup2", "hand_down"]

LEAF = "maitred-processes"
"""Group into which those move that were in ours."""

ROUNDS = 32
"""Tries to empty our group, as its processes fork; each takes well under a millisecond."""

DELEGATED = ("user.delegate", "trusted.delegate")
"""Extended attributes by which systemd marks a subtree that it has given away (Delegate=yes)."""


class Cgroup2:
    """The unified hierarchy."""

    mode = "cgroup2"

    def base(self) -> Path:
        """Below which groups are made, with the memory controller at hand.

        Raises:
            Unavailable: there is none, or it is not ours.
        """
        base = own_group("cgroup2")
        if base.name == LEAF:
            base = base.parent
        hand_down(base, "memory")
        return base

    def prepare(self, home: Path) -> None:
        """Give the groups below `home` the controller."""
        write(home / "cgroup.subtree_control", "+memory")

    def limit(self, group: Path, limit_bytes: int) -> None:
        """Set the hard limit, without swap; at it the whole group dies together."""
        write(group / "memory.max", limit_bytes)
        with contextlib.suppress(OSError):  # a kernel without swap
            write(group / "memory.swap.max", 0)
        with contextlib.suppress(OSError):  # before Linux 4.19 one process is killed
            write(group / "memory.oom.group", 1)

    def read(self, group: Path) -> Reading:
        """What the group has, had, and whether the kernel killed in it."""
        stat = numbers(group / "memory.stat")
        rss = stat["anon"] + stat["shmem"] + (number(group / "memory.swap.current") or 0)
        peak = number(group / "memory.peak")  # since Linux 5.19
        return Reading(rss, peak or rss, numbers(group / "memory.events").get("oom_kill", 0))

    def kill(self, group: Path) -> None:
        """SIGKILL for all at one blow."""
        try:
            write(group / "cgroup.kill", 1)
        except OSError:  # before Linux 5.14: nobody who is frozen forks, and SIGKILL thaws
            write(group / "cgroup.freeze", 1)
            for pid in (group / "cgroup.procs").read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), 9)


def hand_down(base: Path, controller: str) -> None:
    """See that groups below `base` have a controller; moves its processes into a group below if that is in the way.

    Raises:
        Unavailable: it cannot be had, or `base` is not ours.
    """
    available = (base / "cgroup.controllers").read_text().split()
    if controller not in available:
        raise Unavailable(f"{base} has no {controller} controller (it has: {' '.join(available) or 'none'})")
    check_writable(base, base / "cgroup.procs", base / "cgroup.subtree_control")
    if controller in (base / "cgroup.subtree_control").read_text().split():
        return
    if _is_root(base):  # alone may have processes and hand down
        write(base / "cgroup.subtree_control", f"+{controller}")
        return
    if not _is_delegated(base):
        raise Unavailable(f"{base} belongs to systemd, which has not given it away (Delegate=yes does)")
    for _ in range(ROUNDS):
        _empty(base)
        try:
            write(base / "cgroup.subtree_control", f"+{controller}")
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
        else:
            return
    raise Unavailable(f"{base} fills with processes faster than they can be moved")


def _empty(base: Path) -> None:
    (base / LEAF).mkdir(exist_ok=True)
    for pid in (base / "cgroup.procs").read_text().split():
        try:
            write(base / LEAF / "cgroup.procs", pid)
        except ProcessLookupError:  # it has ended
            continue


def _is_root(base: Path) -> bool:
    return not (base / "cgroup.type").exists()


def _is_delegated(base: Path) -> bool:
    """Whoever was given a directory that is not his by right may use it; root may write everywhere, so it must be told."""
    if os.geteuid() != 0 or not (base.parent / "cgroup.procs").exists():  # the latter: the top of a container's view
        return True
    for name in DELEGATED:
        with contextlib.suppress(OSError):
            if os.getxattr(base, name) == b"1":
                return True
    return False
