"""The fault of `failover`, and of `startup` in part: SIGKILL to a worker, and the wait for the one that replaces it.

Only maitred replaces workers, so this asks its client.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from msgspec import Struct

from maitred.benchmarks.method.drivers import sleep_until
from maitred.benchmarks.method.recorder import now_ns
from maitred.client import Client

__all__ = ["Kill", "kill_worker"]

LOOK_INTERVAL_S = 0.003
"""How often the broker is asked whether all workers are there again. A question costs it 0.2 ms, and the answer is late by
this much at most."""

REPLACED_TIMEOUT_S = 60.0
"""Within this the worker has to be replaced: the time that a pool grants for a start by default."""

SERVING = ("idle", "busy")
"""The states of workers that take requests."""


class Kill(Struct, frozen=True):
    """What was done, and when, by the clock of the measurements.

    Attributes:
        pid: of the worker that was killed.
        killed_ns: just before the signal.
        replaced_ns: when the broker was first seen to have as many workers as before.
    """

    pid: int
    killed_ns: int
    replaced_ns: int


def kill_worker(client: Client, at_ns: int = 0) -> Kill:
    """Kill a worker, a busy one if there is any, and wait until there are as many as before.

    Args:
        client: asked for the workers; in a thread of its own it has a connection of its own.
        at_ns: when; a time that is over means now.

    Raises:
        RuntimeError: there is no worker to kill, or it was not replaced within REPLACED_TIMEOUT_S.
    """
    client.workers()  # connected before the time has come
    sleep_until(at_ns)
    before = _serving(client)
    if not before:
        raise RuntimeError("there is no worker to kill; is the pool degraded? Its workers' output says why")
    pid = min(before, key=lambda row: row["state"] != "busy")["pid"]
    killed_ns = now_ns()
    os.kill(pid, signal.SIGKILL)
    return Kill(pid, killed_ns, _wait_replaced(client, pid, len(before)))


def _wait_replaced(client: Client, pid: int, count: int) -> int:
    give_up = time.monotonic() + REPLACED_TIMEOUT_S
    while time.monotonic() < give_up:
        rows = _serving(client)
        if len(rows) >= count and all(row["pid"] != pid for row in rows):
            return now_ns()
        time.sleep(LOOK_INTERVAL_S)
    raise RuntimeError(f"worker {pid} was killed, and not replaced within {REPLACED_TIMEOUT_S:g} s")


def _serving(client: Client) -> list[dict[str, Any]]:
    return [row for row in client.workers() if row["state"] in SERVING]
