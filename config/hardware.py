"""What this host gives us: processors, GPUs and memory."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

__all__ = ["Hardware", "cpus", "gpus", "memory_bytes"]

CGROUPS = Path("/sys/fs/cgroup")
PROC = Path("/proc")


class Hardware:
    """What the names `cpus` and `gpus` of a configuration stand for; looked up when first asked for.

    Args:
        cpus: instead of what this host has.
        gpus: likewise.
    """

    def __init__(self, cpus: int | None = None, gpus: int | None = None) -> None:
        if cpus is not None:
            self.cpus = cpus
        if gpus is not None:
            self.gpus = gpus

    @cached_property
    def cpus(self) -> int:
        """As `cpus()`."""
        return cpus()

    @cached_property
    def gpus(self) -> int:
        """As `gpus()`."""
        return gpus()


def cpus(cgroups: Path = CGROUPS, proc: Path = PROC) -> int:
    """Processors this process may use: the smaller of its affinity mask and its cgroup's quota, at least 1.

    A quota of 2.5 processors counts as 2.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [int(quota) for quota in _quotas(cgroups, proc)]
    return max(1, min([allowed, *quotas]))


def gpus() -> int:
    """GPUs that NVML counts; 0 where there is no driver, no library, or no answer."""
    try:
        nvml: Any = importlib.import_module("pynvml")
        nvml.nvmlInit()
        try:
            return max(0, int(nvml.nvmlDeviceGetCount()))
        finally:
            nvml.nvmlShutdown()
    except Exception:  # its own errors, a library that does not load, a driver that does not fit: there is none to use
        return 0


def memory_bytes(cgroups: Path = CGROUPS, proc: Path = PROC) -> int:
    """Memory this process may have: the smaller of the host's and of its cgroup's limit."""
    return min(
        [
            os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            *(int(limit) for limit in _memory_limits(cgroups, proc)),
        ]
    )


def _memory_limits(cgroups: Path, proc: Path) -> Iterator[float]:
    return _of_groups(cgroups, proc, "memory", _memory_v2, _memory_v1)


def _memory_v2(directory: Path) -> float | None:
    limit = (directory / "memory.max").read_text().strip()
    return None if limit == "max" else int(limit)


def _memory_v1(directory: Path) -> float | None:
    return int((directory / "memory.limit_in_bytes").read_text())  # without one it is more than any host has


def _quotas(cgroups: Path, proc: Path) -> Iterator[float]:
    return _of_groups(cgroups, proc, "cpu", _quota_v2, _quota_v1)


def _of_groups(cgroups: Path, proc: Path, controller: str, read_v2: Any, read_v1: Any) -> Iterator[float]:
    """What binds this process: figures of its group and of those around it, in cgroup v1 and v2."""
    with contextlib.suppress(OSError):
        for line in (proc / "self" / "cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if not controllers:
                yield from _each(cgroups, group, read_v2)
            elif controller in controllers.split(","):
                yield from _each(_mount_v1(cgroups, controllers, controller), group, read_v1)


def _mount_v1(cgroups: Path, controllers: str, controller: str) -> Path:
    together = cgroups / controllers
    return together if together.is_dir() else cgroups / controller


def _each(mount: Path, group: str, read: Any) -> Iterator[float]:
    """The figure of a group and of each around it. In a container the path may be the host's, and only the mount there."""
    path = PurePosixPath(group.removeprefix("/"))
    for inner in (path, *path.parents):
        with contextlib.suppress(OSError, ValueError):
            quota = read(mount / inner)
            if quota is not None:
                yield quota


def _quota_v2(directory: Path) -> float | None:
    quota, period = (directory / "cpu.max").read_text().split()
    return None if quota == "max" else _processors(int(quota), int(period))


def _quota_v1(directory: Path) -> float | None:
    quota = int((directory / "cpu.cfs_quota_us").read_text())
    return None if quota < 0 else _processors(quota, int((directory / "cpu.cfs_period_us").read_text()))


def _processors(quota_us: int, period_us: int) -> float | None:
    return quota_us / period_us if quota_us > 0 and period_us > 0 else None
