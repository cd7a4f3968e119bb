"""What the page is told: all it shows, each second, as server-sent events.

It is made once a second for everybody who listens, and not at all while nobody does. Who reads too slowly is sent the
newest when he is ready, and never what was in between: nothing is kept for him but the events, which are bounded.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from itertools import islice
from typing import Any

import msgspec
import trio
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from maitred.broker.core import tables
from maitred.broker.web.answers import Problem
from maitred.broker.web.guard import Right
from maitred.broker.web.history import FIELDS, INTERVAL_S, History
from maitred.broker.web.house import House
from maitred.broker.web.tables import event_row, shown

__all__ = ["MAX_LISTENERS", "SHOWN_ROWS", "Live"]

MAX_LISTENERS = 16
"""Pages open at a time; each is sent some 20 KB a second. One more is told to come back (503)."""

SHOWN_ROWS = 200
"""Workers, sessions and deaths of one page: more is nobody's to look at, and `maitred workers` lists them all."""

FIRST_EVENTS = 200
"""Events of before that a new page is given."""

RETRY_MS = 2000
"""After which a browser is to connect again."""

TURN_S = 1.0
"""Between two of what a page is told."""

_encode = msgspec.json.Encoder(enc_hook=str).encode


class Live:
    """Looks at the broker once a second, and tells who listens."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._history = History()
        self._listeners = 0
        self._turn = trio.Event()
        self._made: dict[Right, bytes] = {}
        self._counts: dict[str, int] = {}

    async def run(self) -> None:
        """Until cancelled."""
        looked_at = -INTERVAL_S
        while True:
            now = self._house.now()
            if now - looked_at >= INTERVAL_S - TURN_S / 2:
                looked_at = now
                self._history.look(self._house.core.state, now)
            self._made.clear()
            turn, self._turn = self._turn, trio.Event()
            turn.set()
            await trio.sleep(TURN_S)

    def routes(self) -> list[Route]:
        """GET /api/v1/live"""
        return [Route("/api/v1/live", self._answer, methods=["GET"])]

    async def _answer(self, request: Request) -> Response:
        if self._listeners >= MAX_LISTENERS:
            raise Problem(503, "resource_exhausted", f"{MAX_LISTENERS} pages are open already, as many as may be")
        self._listeners += 1  # here, and not once it is sent: many may ask at a time
        return _Counted(self._tell(request.scope["right"]), self._leave)

    def _leave(self) -> None:
        self._listeners -= 1

    async def _tell(self, right: Right) -> AsyncGenerator[bytes]:
        with self._house.feed.listen() as listener:
            before = [event_row(event, right) for event in self._house.feed.recent()[-FIRST_EVENTS:]]
            hello = {
                "right": right.name.lower(),
                "interval": INTERVAL_S,
                "fields": FIELDS,
                "rows": SHOWN_ROWS,
                "look": self._history.looks,
            }
            yield f"retry: {RETRY_MS}\n\n".encode()
            yield _event("hello", _encode(hello | {"history": self._history.everything(), "events": before}))
            while True:
                turn = self._turn
                yield self._snapshot(right)
                if events := listener.take():
                    rows = [event_row(event, right) for event in events]
                    yield _event("events", _encode({"events": rows, "lost": listener.lost}))
                await turn.wait()

    def _snapshot(self, right: Right) -> bytes:
        made = self._made.get(right)
        if made is None:
            made = self._made[right] = _event("snapshot", _encode(self.look(right)))
        return made

    def look(self, right: Right) -> dict[str, Any]:
        """All that the page shows, but what it keeps of before. Times in seconds, sizes in bytes."""
        house, state, now = self._house, self._house.core.state, self._house.now()
        found = {
            "workers": list(islice(tables.each_worker(state, now), SHOWN_ROWS)),
            "sessions": tables.sessions(state, now, most=SHOWN_ROWS),
            "deaths": tables.deaths(state, now, most=SHOWN_ROWS),
            "quarantine": house.table("quarantine")[:SHOWN_ROWS],
        }
        rows = {name: shown(name, found[name], right) for name in found}
        pools = [row | {"now": self._history.last(row["name"])} for row in house.table("pools")]
        totals = {"workers": len(state.workers), "sessions": len(state.sessions)}
        return {"look": self._history.looks, "broker": house.table("broker"), "pools": pools, "totals": totals} | rows


def _event(name: str, data: bytes) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), data)


class _Counted(StreamingResponse):
    """A stream that tells when it is over, begun or not."""

    def __init__(self, content: AsyncGenerator[bytes], on_end: Callable[[], object]) -> None:
        super().__init__(content, media_type="text/event-stream")
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_end()
