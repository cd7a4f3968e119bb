"""What a driver leaves where one is installed: looked at without loading anything."""

from __future__ import annotations

import os
from pathlib import Path

from maitred.worker.gpus import namespaces
from maitred.worker.gpus.nvml import LIBRARY
from maitred.worker.gpus.visible import VARIABLE

__all__ = ["looked_for"]


def looked_for(root: Path = Path("/")) -> list[str]:
    """Each thing that was looked for, and what was found of it.

    Args:
        root: of the file system.
    """
    path = os.environ.get("LD_LIBRARY_PATH", "not set")
    version = root / "proc/driver/nvidia/version"
    nodes = sorted(node.name for node in (root / "dev").glob("nvidia*"))
    found = [
        f"{LIBRARY} by the dynamic loader (LD_LIBRARY_PATH: {path})",
        f"/proc/driver/nvidia/version: {_first_line(version)}",
        f"/dev/nvidia*: {' '.join(nodes) or 'none'}",
        f"{VARIABLE}: {os.environ.get(VARIABLE, 'not set')}",
    ]
    if not namespaces.are_ours():
        found.append("process ids: a container's own, by which NVML may not tell who is on a GPU")
    return found


def _first_line(path: Path) -> str:
    try:
        return path.read_text().partition("\n")[0]
    except OSError:
        return "missing: the kernel has no NVIDIA driver loaded"
