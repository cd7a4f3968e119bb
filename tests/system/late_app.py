"""A service that tells on itself: what it began, and when."""

from __future__ import annotations

import os
import time

from maitred.worker import Context, Service

service = Service()

JOURNAL = os.environ.get("MAITRED_TEST_JOURNAL", os.devnull)
_journal = os.open(JOURNAL, os.O_WRONLY | os.O_APPEND)


@service.command
def task(caller: int, number: int, seconds: float, *, context: Context) -> None:
    """Note that it has begun, on one line that other processes' lines do not cut, and work a little."""
    os.write(_journal, b"%d %d %.6f\n" % (caller, number, time.monotonic()))
    context.sleep(seconds)
