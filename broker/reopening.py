"""Closing an endpoint with all its connections, and listening there again: their unfinished messages are freed.

Peers connect again by themselves, and say again what was not answered; for a moment nobody reaches the broker there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio
import zmq

from maitred.transport.connections import Connections
from maitred.transport.endpoints import bind
from maitred.transport.errors import BindError

__all__ = ["reopen"]

CLOSING_LIMIT_S = 1.0
"""For libzmq's thread to close the listener: a millisecond, if it has nothing else to do."""

PAUSE_S = 0.001

TAKEN_PAUSE_S = 1.0
"""Until the next try, where somebody else has taken the endpoint."""


async def reopen(
    socket: zmq.Socket[bytes],
    connections: Connections[Any],
    endpoint: str,
    prepare: Callable[[str], object] = lambda _: None,
    on_trouble: Callable[[BindError], object] = lambda _: None,
) -> None:
    """Close an endpoint of a ROUTER, and listen there again.

    The old listener is waited for: it removes the file of its `ipc://` endpoint at its end. Cancelling leaves the endpoint
    closed or open, as it may be.

    Args:
        socket: that listens there.
        connections: of that socket.
        endpoint: as `bind` returned it.
        prepare: called with the endpoint before it is bound: libzmq copies a socket's options (CURVE or not) then.
        on_trouble: called each time that it cannot be bound, as somebody else listens there by now; it is tried again.
    """
    connections.read()
    closed = connections.listeners_closed
    socket.unbind(endpoint)
    with trio.move_on_after(CLOSING_LIMIT_S):
        while connections.listeners_closed == closed:
            await trio.sleep(PAUSE_S)
            connections.read()
    while True:
        prepare(endpoint)
        try:
            bind(socket, endpoint, holds_lock=True)
            break
        except BindError as error:  # whoever has it now may go again; the broker's other endpoints serve meanwhile
            on_trouble(error)
            await trio.sleep(TAKEN_PAUSE_S)
    connections.audit(len(connections))
