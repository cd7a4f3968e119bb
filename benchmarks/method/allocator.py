"""The C library's allocator, told to keep large blocks: else it returns each to the kernel, which clears it anew.

At glibc's defaults a message of 1 MiB costs more in page faults than in copies, and how many of these there are depends
on what the process allocated before. Comparisons of large payloads tune every process alike, or none.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Generator

__all__ = ["MMAP_THRESHOLD_BYTES", "TRIM_THRESHOLD_BYTES", "tuned"]

TRIM_THRESHOLD_BYTES = 256 * 1024**2
"""Free memory at the end of the heap below this is kept."""

MMAP_THRESHOLD_BYTES = 128 * 1024**2
"""Blocks below this come from the heap: more than the largest payload that is measured."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # <malloc.h>


@contextlib.contextmanager
def tuned(wanted: bool = True) -> Generator[bool]:
    """Tune this process, for good, and every process that is started within, by its environment.

    Gives whether this process could be tuned: only glibc's allocator can.
    """
    if not wanted:
        yield False
        return
    settings = {
        "MALLOC_TRIM_THRESHOLD_": str(TRIM_THRESHOLD_BYTES),
        "MALLOC_MMAP_THRESHOLD_": str(MMAP_THRESHOLD_BYTES),
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield _tune_this_process()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _tune_this_process() -> bool:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    return bool(mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES) and mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES))
