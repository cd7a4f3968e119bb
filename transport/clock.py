"""Which clock `time.monotonic()` reads: two processes whose names for it agree may tell each other times of it.

A time-out that travels as "seconds left" starts anew wherever the message lay; a time of a common clock does not.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["name"]

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
TIME_NAMESPACE = Path("/proc/self/ns/time")


def name() -> str:
    """The boot and the time namespace, between which Linux's monotonic clock is one; "" where they cannot be told.

    A container may have an offset of its own (clock_gettime(2) by time_namespaces(7)), hence the namespace. Kernels
    before 5.6 have none, and there the boot alone says it.
    """
    try:
        return f"{BOOT_ID.read_text().strip()} {_namespace()}".strip()
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return os.readlink(TIME_NAMESPACE)
    except FileNotFoundError:
        return ""
