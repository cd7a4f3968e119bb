"""Waiting until a house serves: each of its pools has the workers it is to have at least, or is known to be degraded.

A pool that cannot come up keeps nobody waiting for the others.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from maitred.cli.listing import Rows
from maitred.cli.supervision import say
from maitred.client import Client
from maitred.client.errors import MaitredError

__all__ = ["described", "wait_ready"]

READY_POLL_S = 0.03
"""How often the broker is asked whether the workers are there."""

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


def described(rows: Rows, wanted: Mapping[str, int]) -> str:
    """The pools and their workers in one line; why, where there are fewer than there are to be."""
    return ", ".join(_pool(row, wanted.get(row["name"], 0)) for row in rows)


def _pool(row: dict[str, object], wanted: int) -> str:
    if row["degraded"]:
        return f"{row['name']} {row['total']} of {wanted} (degraded: {row['degraded']})"
    return f"{row['name']} {row['total']}"


def _pools(client: Client) -> Rows:
    """The table; empty while there is no broker to ask."""
    try:
        return client.pools()
    except MaitredError:
        return []
