"""Telling a service manager how things are, by the protocol of `sd_notify(3)`: one datagram of KEY=VALUE lines.

Where nobody asked to be told ($NOTIFY_SOCKET), nothing is. What is told never fails and never waits: a manager that is gone
must not take the service along.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping

import trio

__all__ = ["SHARE", "VARIABLES", "feed_watchdog", "keep_to_oneself", "notify", "watchdog_s"]

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""Of the environment: who asked to be told, and to be told how often."""

SHARE = 0.5
"""Of the time that the watchdog grants, after which it is fed again: what sd_watchdog_enabled(3) recommends."""


_asked: Mapping[str, str] = os.environ


def keep_to_oneself() -> None:
    """Take the variables from the environment, and go by them all the same.

    A library in a process that is started from here on does not speak for the whole unit.
    """
    global _asked
    _asked = {name: os.environ.pop(name) for name in VARIABLES if name in os.environ}


def notify(**told: str) -> bool:
    """Tell it, as `notify(READY="1", STATUS="3 pools")`; returns whether somebody was told."""
    address = _asked.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return False
    if address.startswith("@"):  # a name in the kernel's abstract namespace
        address = "\0" + address[1:]
    lines = "\n".join(f"{name}={value}" for name, value in told.items())
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as one:
        one.setblocking(False)
        one.sendto(lines.encode(), address)
        return True
    return False


def watchdog_s() -> float | None:
    """Seconds within which the manager wants to hear of this service; None: it does not watch.

    $WATCHDOG_PID is not looked at: a broker feeds for the `maitred up` that started it, whose unit says NotifyAccess=all.
    """
    text = _asked.get("WATCHDOG_USEC", "")
    return int(text) / 1e6 if text.isascii() and text.isdecimal() and int(text) > 0 else None


async def feed_watchdog() -> None:
    """Say again and again that this loop turns, until cancelled; at once done where nobody watches."""
    granted_s = watchdog_s()
    while granted_s is not None:
        notify(WATCHDOG="1")
        await trio.sleep(granted_s * SHARE)
