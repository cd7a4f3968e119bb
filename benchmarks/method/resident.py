"""How much memory a process of another program has, now and at its highest.

Resident memory (RSS), read exactly: Linux keeps the figure in /proc/PID/statm and status in counters of each core, which
are added up late; smaps_rollup walks the pages. What is shared with other processes (libraries' code) counts in it, and
does not grow with load, so that growth is the process's own.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil

__all__ = ["forget_peak", "peak_bytes", "resident_bytes"]

KIB = 1024


def resident_bytes(pid: int) -> int:
    """What it has now."""
    try:
        return _field(Path(f"/proc/{pid}/smaps_rollup"), "Rss:")
    except OSError:  # not Linux
        return psutil.Process(pid).memory_info().rss


def forget_peak(pid: int) -> None:
    """Have the highest counted from now on, where the system can."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # <Documentation/filesystems/proc.rst>


def peak_bytes(pid: int) -> int:
    """The highest it had since `forget_peak`, to some 100 KiB; what it has now where the system does not say."""
    try:
        return max(_field(Path(f"/proc/{pid}/status"), "VmHWM:"), resident_bytes(pid))
    except OSError:
        return resident_bytes(pid)


def _field(file: Path, name: str) -> int:
    for line in file.read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * KIB
    raise OSError(f"{file} has no {name}")
