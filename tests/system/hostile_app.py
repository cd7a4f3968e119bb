"""A service whose worker writes what it is told to standard error, and dies."""

from __future__ import annotations

import os
import signal
import sys

from maitred.worker import Service

service = Service()


@service.command
def die_saying(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
