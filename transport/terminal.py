"""Tells the end of the terminal from a request to read files again: SIGHUP means either."""

from __future__ import annotations

import os

__all__ = ["Terminal"]


class Terminal:
    """The terminal that this process was started at, if it was at one; asked at the start and at each SIGHUP."""

    def __init__(self) -> None:
        self._had_one = _is_there()

    def is_gone(self) -> bool:
        """Whether it was closed: the kernel takes it from a process before it sends the signal."""
        return self._had_one and not _is_there()


def _is_there() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
