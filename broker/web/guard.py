"""Who may ask: tokens, and what a browser must not be talked into by other people's pages.

    nobody's token      whether it lives and can serve, and no word more: what a probe asks; the page's files, which say
                        nothing of this broker; on loopback, without `http_token`, all that is shown but what workers wrote
    http_token          everything that is shown
    the operator's      that, and whatever changes something

A token goes in a header (`Authorization: Bearer …`), never in a cookie, so that another page in the same browser cannot
use it; where none is asked for, only the names of this host are answered (`Host`), so that no name that is made to
point here can read (DNS rebinding).
"""

from __future__ import annotations

import enum
import hmac

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from maitred.broker.web.answers import Problem, refusal

__all__ = ["Guard", "Right", "Tokens"]

OPEN = ("/", "/healthz", "/page/")
"""Paths that say nothing of this broker: the first two as they are, the third with what is below it."""

PROBES = ("/readyz", "/readyz/")
"""Whether it can serve is answered to everybody, by every name, but without a reason (`scope["right"]` is None): a kubelet
shows no token, and calls a pod by its address. The first as it is, the second with what is below it."""

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every answer: the page runs its own files and nothing else, in no frame, and nothing is kept."""


class Right(enum.IntEnum):
    """What somebody may do here; each includes those before it."""

    LOOK = 0
    """See what there is, without what workers wrote."""

    READ = 1
    """See everything."""

    OPERATE = 2
    """Change something."""


class Tokens:
    """The secrets of this side.

    Args:
        reading: what everything but OPEN asks for; "": nothing does.
        operating: what changes ask for; it opens everything else, too.
    """

    def __init__(self, reading: str, operating: str) -> None:
        self._reading = reading.encode()
        self._operating = operating.encode()

    @property
    def needed(self) -> bool:
        """Whether reading asks for one."""
        return bool(self._reading)

    def right_of(self, headers: Headers) -> Right | None:
        """What these headers give; None: nothing, as no token is shown, or a wrong one.

        A wrong token is never as good as none: who shows one wants to be told.
        """
        shown = headers.getlist("authorization")
        if not shown:
            return None if self._reading else Right.LOOK
        scheme, _, token = shown[0].partition(" ")
        if len(shown) != 1 or scheme.lower() != "bearer":
            return None
        given = token.strip().encode()
        if self._operating and hmac.compare_digest(given, self._operating):
            return Right.OPERATE
        return Right.READ if self._reading and hmac.compare_digest(given, self._reading) else None


class Guard:
    """Asks before anything else is looked at, what there is not included. `scope["right"]` is what was found."""

    def __init__(self, app: ASGIApp, tokens: Tokens) -> None:
        self._app = app
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, as ASGI has it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close"})
        else:

            async def send_safely(message: Message) -> None:
                if message["type"] == "http.response.start":
                    headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                    message["headers"] = [*message["headers"], *headers]
                await send(message)

            answer = self._objection(scope)
            await (answer or self._app)(scope, receive, send_safely)

    def _objection(self, scope: Scope) -> Response | None:
        headers, path = Headers(scope=scope), scope["path"]
        scope["right"] = right = self._tokens.right_of(headers)
        if path in OPEN or path.startswith(OPEN[-1]):
            return None
        local = _name(headers.get("host", "")) in LOCAL_NAMES
        if "authorization" not in headers and (path == PROBES[0] or path.startswith(PROBES[1])):
            scope["right"] = right if local else None
            return None
        if right is None:
            text = "a token is needed: Authorization: Bearer TOKEN"
            problem = Problem(401, "unauthenticated", text)
            answer = refusal(problem)
            answer.headers["WWW-Authenticate"] = "Bearer"
            return answer
        if right is Right.LOOK and not local:
            text = f"without a token only {', '.join(sorted(LOCAL_NAMES))} are answered, not this Host"
            return refusal(Problem(403, "permission_denied", text))
        return None


def _name(host: str) -> str:
    """Without its port, in lower case."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).lower()
