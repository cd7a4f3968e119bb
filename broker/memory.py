"""The memory of this process: how much it has, how much it may have, and giving back what is free.

What counts is what is in memory (pages of files included, some 20 MB) and what of it was swapped out.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable

from maitred.config.hardware import memory_bytes

__all__ = ["LEAST_LIMIT_BYTES", "Memory", "limit_of", "trim"]

LEAST_LIMIT_BYTES = 256 * 1024 * 1024
"""The least that is meant by half of a small host: one message of the largest size, and the broker itself."""

SHARE_OF_HOST = 0.5

SWAP_LOOKS = 20
"""Looks between two at the swap, which changes slowly and takes 7 µs to read, memory 1 µs."""


def limit_of(configured: int | None, available: Callable[[], int] = memory_bytes) -> int:
    """What the process may have: as configured, else half of what the host or the control group has."""
    if configured is not None:
        return configured
    return max(int(available() * SHARE_OF_HOST), LEAST_LIMIT_BYTES)


class Memory:
    """Reads what this process has. Open until `close`."""

    def __init__(self) -> None:
        self._looks = 0
        self._swap = 0
        self._page = os.sysconf("SC_PAGE_SIZE")
        self._files = [os.open(f"/proc/self/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in _FILES]

    def now(self) -> int:
        """Bytes in memory, and in the swap as of a second ago."""
        if not self._files:
            import psutil  # here: 10 ms of a start

            return int(psutil.Process().memory_info().rss)
        statm, status = self._files
        if self._looks % SWAP_LOOKS == 0:
            self._swap = _swapped(os.pread(status, 4096, 0))
        self._looks += 1
        return int(os.pread(statm, 256, 0).split()[1]) * self._page + self._swap

    def close(self) -> None:
        """Repeatable."""
        while self._files:
            os.close(self._files.pop())


_FILES = ("statm", "status") if sys.platform == "linux" else ()


def _swapped(status: bytes) -> int:
    _, found, rest = status.partition(b"VmSwap:")
    return int(rest.split()[0]) * 1024 if found else 0


def trim() -> None:
    """Have the allocator give free memory back to the system: glibc keeps what is below a block in use."""
    if _malloc_trim is not None:
        _malloc_trim(0)


def _find_trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim  # pyright: ignore[reportReturnType]
    except (AttributeError, OSError):  # musl, macOS
        return None


_malloc_trim = _find_trim() if sys.platform == "linux" else None
