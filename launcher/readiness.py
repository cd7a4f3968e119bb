"""Waiting until a house serves: each of its pools has the workers it is to have at least, or is known to be degraded.

A pool that cannot come up keeps nobody waiting for the others.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from maitred.client import Client
from maitred.client.errors import MaitredError
from maitred.launcher.processes import StartError
from maitred.launcher.supervision import say

__all__ = ["described", "require_ready", "wait_ready"]

Rows = list[dict[str, Any]]

READY_POLL_S = 0.03
"""How often the broker is asked whether the workers are there."""

SHORT_POLL_S = 0.005
"""The same, where an application waits."""

FIRST_NOTICE_S = 5.0
NOTICE_S = 60.0
"""When, and then how often, the user is told which workers are not there yet."""


def wait_ready(endpoint: str, wanted: Mapping[str, int]) -> Rows:
    """Wait, in this thread, and tell what is missing meanwhile.

    Args:
        endpoint: the broker's, for clients. It may die and come back.
        wanted: pool → the workers it is to have at least.

    Returns:
        The rows of the pools, once nothing more is to be waited for.
    """
    notice_at = time.monotonic() + FIRST_NOTICE_S
    with Client(endpoint) as client:
        while True:
            rows = _pools(client)
            missing = [row for row in rows if row["total"] < wanted.get(row["name"], 0) and not row["degraded"]]
            if rows and not missing:
                return rows
            if missing and time.monotonic() > notice_at:
                words = ", ".join(f"{row['name']} {row['total']} of {wanted[row['name']]}" for row in missing)
                say(f"still waiting for workers: {words}; calls wait, or go to those that are there")
                notice_at = time.monotonic() + NOTICE_S
            time.sleep(READY_POLL_S)


def require_ready(client: Client, wanted: Mapping[str, int], timeout_s: float) -> None:
    """Wait, in this thread, until each pool has the workers it is to have at least.

    Args:
        client: of the broker.
        wanted: as of `wait_ready`.
        timeout_s: as long, at most.

    Raises:
        StartError: a pool is degraded, or one does not have them in time; with what the pools say.
    """
    give_up_at = time.monotonic() + timeout_s
    while True:
        rows = _pools(client)
        late = time.monotonic() > give_up_at
        if late or any(row["degraded"] for row in rows):
            when = f" after {timeout_s:g} s" if late else ""
            raise StartError(f"the pools are not ready{when}: {described(rows, wanted)}")
        if rows and all(row["total"] - row["suspect"] >= wanted.get(row["name"], 0) for row in rows):
            return
        time.sleep(SHORT_POLL_S)


def described(rows: Rows, wanted: Mapping[str, int]) -> str:
    """The pools and their workers in one line; why, where there are fewer than there are to be."""
    return ", ".join(_pool(row, wanted.get(row["name"], 0)) for row in rows)


def _pool(row: dict[str, Any], wanted: int) -> str:
    if row["degraded"]:
        return f"{row['name']} {row['total']} of {wanted} (degraded: {row['degraded']})"
    return f"{row['name']} {row['total']}" if row["total"] >= wanted else f"{row['name']} {row['total']} of {wanted}"


def _pools(client: Client) -> Rows:
    """The table; empty while there is no broker to ask."""
    try:
        return client.pools()
    except MaitredError:
        return []
