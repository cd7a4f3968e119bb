"""Tells at once whose connection to a ROUTER has ended: what of `connections` is for who wants nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import zmq

from maitred.transport.connections import Connections

__all__ = ["Hangups"]

P = TypeVar("P")


class Hangups(Connections[P]):
    """Watches one ROUTER.

    Args:
        socket: the ROUTER; the monitor is closed by `close`, before or after it. It has no other monitor.
        on_hangup: called with a peer that was noted, once its connection has ended.
    """

    def __init__(self, socket: zmq.Socket[bytes], on_hangup: Callable[[P], object]) -> None:
        super().__init__(socket, on_hangup)
