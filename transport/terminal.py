"""Tells the end of the terminal from a request to read files again: SIGHUP means either."""

from __future__ import annotations

import os

__all__ = ["Terminal"]

_OUTPUTS = (1, 2)


class Terminal:
    """The terminal that this process was started at, if it was at one; made at the start and asked at each SIGHUP."""

    def __init__(self) -> None:
        self._had_one = _is_there()
        self._shown_at = [descriptor for descriptor in _OUTPUTS if os.isatty(descriptor)]

    def is_gone(self) -> bool:
        """Whether it was closed: the kernel takes it from a process before it sends the signal.

        What this process still writes there goes nowhere from then on; it would be an error otherwise.
        """
        if not self._had_one or _is_there():
            return False
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        for descriptor in self._shown_at:
            os.dup2(nowhere, descriptor)
        os.close(nowhere)
        return True


def _is_there() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
