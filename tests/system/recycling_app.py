"""An application whose workers wear out."""

from __future__ import annotations

import os
import time

from maitred.worker import Service

service = Service()
hoard: list[bytes] = []


@service.command
def pid() -> int:
    time.sleep(0.002)
    return os.getpid()


@service.command
def take(megabytes: int) -> int:
    """Take memory, and keep it."""
    for _ in range(megabytes):
        hoard.append(os.urandom(1 << 10) * (1 << 10))
        time.sleep(0.002)
    return os.getpid()


@service.command
def rest() -> int:
    """Take its time, and none of the processor's."""
    time.sleep(0.02)
    return os.getpid()
