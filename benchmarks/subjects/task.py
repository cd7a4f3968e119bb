"""The task as plain Python, for the peers whose workers run any function: they load it by name."""

from __future__ import annotations

import os
import time
from typing import Any

__all__ = ["Actor", "echo", "worker_pid"]


def echo(payload: Any, task_s: float = 0.0) -> Any:
    """Give the payload back, after sleeping."""
    if task_s:
        time.sleep(task_s)
    return payload


def worker_pid(task_s: float = 0.0) -> int:
    """Which process does this task."""
    return echo(os.getpid(), task_s)


class Actor:
    """The same, for the peers whose workers keep objects."""

    def echo(self, payload: Any, task_s: float = 0.0) -> Any:
        """See `echo`."""
        return echo(payload, task_s)

    def pid(self) -> int:
        """See `worker_pid`."""
        return worker_pid()
