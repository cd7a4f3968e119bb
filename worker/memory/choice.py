"""The best way to keep a memory limit that there is here."""

from __future__ import annotations

import os

from maitred.worker.memory.cgroup1 import Cgroup1
from maitred.worker.memory.cgroup2 import Cgroup2
from maitred.worker.memory.groups import GroupKeeper, Hierarchy
from maitred.worker.memory.mounts import Unavailable
from maitred.worker.memory.polling import PollingKeeper
from maitred.worker.memory.usage import Keeper

__all__ = ["MODE_VARIABLE", "keeper"]

MODE_VARIABLE = "MAITRED_MEMORY_MODE"
"""Environment variable with the one mode to use, where a person knows better: "cgroup2", "cgroup1" or "polling". Where it
cannot be had, it is polling."""


def keeper(limit_bytes: int | None, label: str) -> Keeper:
    """Choose how to keep a limit: version 2 of control groups, else version 1, else by polling.

    Args:
        limit_bytes: of one worker, its children included; None: none is kept, and usage is read by polling.
        label: the pool's name.
    """
    if limit_bytes is None:
        return PollingKeeper(None, "", "no memory_limit is set")
    wanted = os.environ.get(MODE_VARIABLE, "")
    reasons: list[str] = []
    hierarchies: list[Hierarchy] = [Cgroup2(), Cgroup1()]
    for hierarchy in hierarchies:
        if wanted not in ("", hierarchy.mode):
            reasons.append(f"{hierarchy.mode}: {MODE_VARIABLE} is {wanted!r}")
            continue
        try:
            return GroupKeeper(limit_bytes, label, hierarchy, "; ".join(reasons))
        except Unavailable as reason:
            reasons.append(f"{hierarchy.mode}: {reason}")
        except OSError as error:
            reasons.append(f"{hierarchy.mode}: {error.filename or 'the kernel'}: {error.strerror}")
    return PollingKeeper(limit_bytes, "polling", "; ".join(reasons))
