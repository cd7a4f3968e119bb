"""Limits that the kernel keeps: a control group for each worker, in one for its agent, in the one we were started in.

    our own group / maitred-pool-neural-3f2a… / worker-4711-1

The agent holds a lock on its directory while it lives. Who finds one without a holder, has found what an agent that was
killed left behind, and removes it, with whoever is still in it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from itertools import count
from pathlib import Path
from typing import NamedTuple, Protocol

from maitred.worker.memory.mounts import Unavailable
from maitred.worker.memory.polling import PollingKeeper
from maitred.worker.memory.tree import Tree
from maitred.worker.memory.usage import Usage, Watch, judge

__all__ = ["GroupKeeper", "Hierarchy", "Reading", "number", "numbers", "write"]

PREFIX = "maitred-pool-"

LABEL_CHARACTERS = 64
"""Of a pool's name, in that of its directory: a file name has 255 bytes."""

TRIES = 3
"""To make a directory that somebody who cleans up may take for one left behind, before it is locked."""

REMOVAL_LIMIT_S = 1.0
"""For killed processes to be gone, when a keeper closes; what then is left is for the next agent to remove."""

REMOVAL_PAUSE_S = 0.005


class Reading(NamedTuple):
    """A group's memory, bytes: without pages of files; the most so far, with them; processes killed by the kernel."""

    rss: int
    peak: int
    oom_kills: int


class Hierarchy(Protocol):
    """What differs between the versions of control groups. All but `base` raise OSError."""

    mode: str

    def base(self) -> Path:
        """Below which an agent's directory is made.

        Raises:
            Unavailable: there is no such place, or it is not ours.
        """
        ...

    def prepare(self, home: Path) -> None:
        """Make an agent's directory ready for the groups of its workers."""
        ...

    def limit(self, group: Path, limit_bytes: int) -> None:
        """Set a worker's hard limit."""
        ...

    def read(self, group: Path) -> Reading:
        """What the group has, had, and whether the kernel killed in it."""
        ...

    def kill(self, group: Path) -> None:
        """SIGKILL for every process in it."""
        ...


class GroupKeeper:
    """Limits the workers of one agent.

    Args:
        limit_bytes: of one worker.
        label: the pool's name.
        hierarchy: which version.
        why: why no better mode is in force.

    Raises:
        Unavailable: there are no control groups of ours.
        OSError: the kernel refuses.
    """

    def __init__(self, limit_bytes: int, label: str, hierarchy: Hierarchy, why: str = "") -> None:
        self.mode = hierarchy.mode
        self.why = why
        self.limit_bytes = limit_bytes
        self.hierarchy = hierarchy
        self._numbers = count(1)
        self._leftovers: list[Path] = []
        self._tree = Tree()
        self._polling = PollingKeeper(limit_bytes, "polling", why)
        base = hierarchy.base()
        _sweep(base, hierarchy)
        self._home, self._lock = _make_home(base, label)
        try:
            self._rehearse()
        except OSError:
            self.close()
            raise

    def _rehearse(self) -> None:
        """A kernel that would refuse the first worker shall refuse now."""
        self.hierarchy.prepare(self._home)
        group = self._home / "rehearsal"
        group.mkdir()
        try:
            self.hierarchy.limit(group, self.limit_bytes)
            self.hierarchy.read(group)
        finally:
            self.remove(group)

    def adopt(self, pid: int) -> Watch:
        """Move a worker into a group of its own; what it had before stays charged to ours.

        Where the kernel refuses, this one is polled. Takes 5 ms for a hundred processes on the host, and 15 ms more when
        nobody was moved for a while.
        """
        group = self._home / f"worker-{pid}-{next(self._numbers)}"
        try:
            group.mkdir()
            self.hierarchy.limit(group, self.limit_bytes)
            self._move(pid, group)
        except ProcessLookupError:  # it has died already: there is nothing to see, but that
            pass
        except OSError:
            self.remove(group)
            return self._polling.adopt(pid)
        return GroupWatch(self, group)

    def _move(self, pid: int, group: Path) -> None:
        write(group / "cgroup.procs", pid)
        self._tree.forget()
        for child in self._tree.below(pid)[1:]:  # born before; those to come are born in the group
            with contextlib.suppress(ProcessLookupError):
                write(group / "cgroup.procs", child)

    def remove(self, group: Path) -> None:
        """End who is in it, and remove it as soon as they are gone."""
        self._leftovers.append(group)
        with contextlib.suppress(OSError):
            self.hierarchy.kill(group)
        self._remove_leftovers()

    def _remove_leftovers(self) -> None:
        self._leftovers = [group for group in self._leftovers if not _remove(group)]

    def close(self) -> None:
        """Leave nothing behind; waits for processes that were killed a moment ago. Repeatable."""
        if self._lock < 0:
            return
        deadline = time.monotonic() + REMOVAL_LIMIT_S
        while not _clear(self._home, self.hierarchy) and time.monotonic() < deadline:
            time.sleep(REMOVAL_PAUSE_S)
        os.close(self._lock)
        self._lock = -1


class GroupWatch:
    """One worker's group; made by `GroupKeeper.adopt`."""

    def __init__(self, keeper: GroupKeeper, group: Path) -> None:
        self._keeper = keeper
        self._group = group
        self._last = Reading(0, 0, 0)
        self._closed = False

    def look(self) -> Usage:
        """What the group has now, or had last, once it is closed."""
        if not self._closed:
            with contextlib.suppress(OSError):
                now = self._keeper.hierarchy.read(self._group)
                self._last = Reading(now.rss, max(now.peak, self._last.peak), now.oom_kills)
        rss, peak, oom_kills = self._last
        return judge(rss, peak, self._keeper.limit_bytes, oom_kills > 0)

    def kill(self) -> bool:
        """SIGKILL for every process in the group."""
        try:
            self._keeper.hierarchy.kill(self._group)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """End whom the worker left behind, and remove the group."""
        if not self._closed:
            self.look()
            self._closed = True
            self._keeper.remove(self._group)


def _make_home(base: Path, label: str) -> tuple[Path, int]:
    name = re.sub(r"[^A-Za-z0-9_-]", "_", label)[:LABEL_CHARACTERS]
    for _ in range(TRIES):
        home = base / f"{PREFIX}{name}-{os.urandom(6).hex()}"
        home.mkdir()
        lock = _lock(home)
        if lock is not None:
            return home, lock
    raise Unavailable(f"{base} is cleaned up by somebody else all the time")


def _lock(home: Path) -> int | None:
    """The lock, or None where somebody else has it, or has removed the directory."""
    try:
        descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    if home.exists():
        return descriptor
    os.close(descriptor)
    return None


def _sweep(base: Path, hierarchy: Hierarchy) -> None:
    for home in base.glob(f"{PREFIX}*"):
        lock = _lock(home)
        if lock is not None:
            _clear(home, hierarchy)
            os.close(lock)


def _clear(home: Path, hierarchy: Hierarchy) -> bool:
    """End whoever is in an agent's directory and remove it; False: some have not ended yet."""
    for group in (path for path in home.glob("*") if path.is_dir()):
        with contextlib.suppress(OSError):
            hierarchy.kill(group)
        _remove(group)
    return _remove(home)


def _remove(group: Path) -> bool:
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def write(path: Path, value: int | str) -> None:
    """Write to a file of the kernel's."""
    path.write_text(str(value))


def number(path: Path) -> int | None:
    """The one number in a file of the kernel's; None where this kernel has no such file."""
    try:
        return int(path.read_text())
    except FileNotFoundError:
        return None


def numbers(path: Path) -> dict[str, int]:
    """A file of the kernel's with a name and a number in each line."""
    return {name: int(value) for name, value in (line.split() for line in path.read_text().splitlines())}
