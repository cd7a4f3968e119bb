"""HTTP beside the routing, under the same trio: whether the broker lives, whether its pools can serve, and its numbers.

    GET /healthz         200: the process lives, and its loop turns
    GET /readyz          200: a pool at least can serve; 503: none can; with the reason of each that cannot
    GET /readyz/POOL     200: this one can; 503 with the reason; 404: there is no such pool
    GET /metrics         for Prometheus (see `metrics`); 404 where the broker gives none

Where there is a token, all but /healthz ask for it: `Authorization: Bearer …`, or 401.

A single pool that is ill must not take the others from whoever goes by `/readyz`; who depends on one asks for that one.
There are few connections at a time: descriptors are for those whom the broker is for.
"""

from __future__ import annotations

import hmac
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
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from maitred.transport.errors import BindError

__all__ = ["listen", "serve"]

GRACE_S = 0.1
"""At the end, so long is waited for answers that are under way."""

MAX_TARGET_BYTES = 4096
"""Of a request's first line and headers: probes and scrapers send a tenth of it."""

MAX_CONNECTIONS = 64
"""Open at a time; one more ends the oldest, so that a probe is answered whoever keeps others open. A scraper has one."""

UNGUARDED = frozenset({"/healthz"})
"""Says no more than that something listens here, to those who watch it and should know no secret."""


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


async def serve(
    listener: socket.socket,
    readiness: Callable[[], dict[str, Any]],
    ended: Callable[[], Awaitable[Any]],
    token: str = "",
    metrics: Callable[[str], tuple[bytes, str]] | None = None,
) -> None:
    """Serve until `ended` returns. Owns the listener.

    Args:
        listener: as made by `listen`.
        readiness: the broker's table of that name.
        ended: waits until the broker has.
        token: what is asked for; "": nothing.
        metrics: by the header `Accept`, the page of `/metrics` and its content type.
    """

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        found = readiness()
        return JSONResponse(found, 200 if found["ready"] else 503)

    async def readyz_of(request: Request) -> Response:
        name, pools = request.path_params["pool"], readiness()["pools"]
        if name not in pools:
            return JSONResponse({"ready": False, "reason": f"no pool {name!r}", "pools": sorted(pools)}, 404)
        return JSONResponse(pools[name], 200 if pools[name]["ready"] else 503)

    async def metrics_page(request: Request) -> Response:
        assert metrics is not None
        page, content_type = metrics(",".join(request.headers.getlist("Accept")))
        return Response(page, headers={"Content-Type": content_type})

    routes = [Route("/healthz", healthz), Route("/readyz", readyz), Route("/readyz/{pool}", readyz_of)]
    if metrics is not None:
        routes.append(Route("/metrics", metrics_page))
    config = Config()
    config.errorlog = None
    config.graceful_timeout = GRACE_S
    config.h11_max_incomplete_size = MAX_TARGET_BYTES
    config.include_server_header = False
    starlette = Starlette(routes=routes)
    starlette.router.redirect_slashes = False  # a path is exactly what it is: no scraper follows anybody elsewhere
    app: ASGIApp = starlette
    if token:
        app = _Guarded(app, token)
    context = WorkerContext(None)
    handle = _Few(partial(TCPServer, ASGIWrapper(cast("Any", app)), config, context, ConnectionState({})))
    listening = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
    # Not by hypercorn's own `serve`, which takes as many connections as come.
    async with trio.open_nursery() as handlers:
        async with trio.open_nursery() as accepting:
            accepting.start_soon(partial(trio.serve_listeners, handle, [listening], handler_nursery=handlers))
            await ended()
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


class _Guarded:
    """Asks for a token before anything else is looked at, what there is not included."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] in UNGUARDED or self._has_token(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            text = "a token is needed: Authorization: Bearer TOKEN\n"
            await PlainTextResponse(text, 401, {"WWW-Authenticate": "Bearer"})(scope, receive, send)
        else:
            await send({"type": "websocket.close"})

    def _has_token(self, scope: Scope) -> bool:
        shown = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
        if len(shown) != 1:
            return False
        scheme, _, token = shown[0].partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), self._token)
