"""Keeps what a process holds in memory (a secret key) out of core dumps, and from other processes of its user.

Costs: a debugger and tools that look into processes (`py-spy`, `gdb`) need root then, and `/proc/PID/environ`, `maps` and
the like are root's. A fork inherits it, an exec forgets it.
"""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys

__all__ = ["forbid_core_dumps", "make_undumpable"]

_PR_SET_DUMPABLE = 4  # <linux/prctl.h>


NO_CORE_BYTES = 1
"""A core of a byte is written neither to a file nor to a program: to the latter the kernel would give one of any size where
the limit is 0 (core(5))."""


def forbid_core_dumps() -> None:
    """Have the kernel write no core dump of this process and of those that it starts. Others may look into it as before."""
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (NO_CORE_BYTES, NO_CORE_BYTES))


def make_undumpable() -> bool:
    """Have the kernel write no core dump of this process, and let nobody but root trace it.

    Returns:
        False where the system cannot do the second (not Linux); the first is done everywhere.
    """
    forbid_core_dumps()
    if sys.platform != "linux":
        return False
    return ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0
