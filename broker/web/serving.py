"""HTTP connections under the broker's trio: few at a time, bounded, and ended with the broker.

There are few connections, as descriptors are for those whom the broker is for.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from maitred.broker.web.guard import Tokens
from maitred.broker.web.house import House
from maitred.broker.web.live import Live
from maitred.broker.web.site import site
from maitred.transport.errors import BindError

__all__ = ["listen", "serve"]

GRACE_S = 0.1
"""At the end, so long is waited for answers that are under way."""

MAX_TARGET_BYTES = 4096
"""Of a request's first line and headers: probes and scrapers send a tenth of it. No path takes a body."""

MAX_CONNECTIONS = 64
"""Open at a time; one more ends the oldest, so that a probe is answered whoever keeps others open. A scraper has one."""


def listen(address: str) -> socket.socket:
    """Listen at host:port.

    Raises:
        BindError: it cannot be listened at.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, int(port)), family=family)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        text = f'cannot listen at {address} (broker.http): {why}; choose another port, or http = "" for none'
        raise BindError(error.errno or 0, text, address) from error


async def serve(listener: socket.socket, house: House, tokens: Tokens) -> None:
    """Serve until the broker has ended. Owns the listener, as made by `listen`."""
    config = Config()
    config.errorlog = None
    config.graceful_timeout = GRACE_S
    config.h11_max_incomplete_size = MAX_TARGET_BYTES
    config.include_server_header = False
    live = Live(house)
    context = WorkerContext(None)
    app = cast("Any", site(house, live, tokens))
    handle = _Few(partial(TCPServer, ASGIWrapper(app), config, context, ConnectionState({})))
    listening = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
    # Not by hypercorn's own `serve`, which takes as many connections as come.
    async with trio.open_nursery() as handlers:
        async with trio.open_nursery() as accepting:
            accepting.start_soon(live.run)
            accepting.start_soon(partial(trio.serve_listeners, handle, [listening], handler_nursery=handlers))
            await house.ended()
            accepting.cancel_scope.cancel()
        await context.terminated.set()
        handlers.cancel_scope.deadline = trio.current_time() + GRACE_S


class _Few:
    """Serves connections, `MAX_CONNECTIONS` at a time."""

    def __init__(self, serve_one: Callable[[Any], Awaitable[None]]) -> None:
        self._serve_one = serve_one
        self._open: dict[trio.CancelScope, None] = {}

    async def __call__(self, stream: trio.SocketStream) -> None:
        if len(self._open) >= MAX_CONNECTIONS:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.cancel()
        with trio.CancelScope() as scope:
            self._open[scope] = None
            try:
                await self._serve_one(stream)
            finally:
                self._open.pop(scope, None)
