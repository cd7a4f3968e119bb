"""An application that starts processes of its own, and keeps the interpreter."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Iterator

from maitred.worker import Service

service = Service()

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]


@service.command
def family(mark: bool) -> list[int]:
    """Start one that stays in the group, one that leaves group and session, and one that was only forked and left both."""
    environment = None if mark else {}
    group = subprocess.Popen(SLEEPER, env=environment)
    session = subprocess.Popen(SLEEPER, start_new_session=True)
    forked = os.fork()
    if not forked:
        os.setsid()
        time.sleep(600)
        os._exit(0)
    return [os.getpid(), group.pid, session.pid, forked]


@service.command
def hold(seconds: int) -> Iterator[str]:
    """Say so, and then sleep in C without giving the interpreter up."""
    yield "begun"
    ctypes.PyDLL(None).sleep(seconds)


@service.command
def nap(seconds: float) -> Iterator[str]:
    yield "begun"
    time.sleep(seconds)
    yield "slept"
