"""Whose process ids NVML tells: those of the host, which in a container are somebody else's."""

from __future__ import annotations

import os

__all__ = ["are_ours", "computes"]

HOST = 0xEFFFFFFC
"""Inode of the host's own namespace of process ids, the same on every Linux (PROC_PID_INIT_INO)."""


def are_ours() -> bool:
    """Whether this process counts its neighbours as the host does."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino == HOST
    except OSError:
        return True


def computes(pid: int) -> bool:
    """Whether the process of this id, as we count, has a GPU open: else the id means another one elsewhere."""
    try:
        descriptors = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return False
    return any(_target(f"/proc/{pid}/fd/{one}").startswith(("/dev/nvidia", "/dev/dxg")) for one in descriptors)


def _target(link: str) -> str:
    try:
        return os.readlink(link)
    except OSError:  # it was closed meanwhile
        return ""
