"""The JSON API's questions: the rows of `maitred status`, `workers`, `sessions`, `requests` and the others, as they are.

One table has one source (`broker.core.tables`), whoever asks. What workers and callers wrote of their own (`WRITTEN`) is
for who shows a token: a port of loopback is open to every user of its host.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from maitred.broker.core.tables import requests, sessions
from maitred.broker.core.words import nearest
from maitred.broker.event_feed import Event
from maitred.broker.web.answers import JsonResponse, Problem
from maitred.broker.web.guard import Right
from maitred.broker.web.house import House
from maitred.protocol.own_events import OWN, RESERVED

__all__ = ["DEFAULT_ROWS", "MAX_ROWS", "WRITTEN", "event_row", "numeral", "routes", "shown"]

DEFAULT_ROWS = 1000
MAX_ROWS = 10_000
"""Rows of an answer, where none is asked for, and at most: some megabytes, and some tens of milliseconds of the broker."""

MIN_DIGITS = 4
"""Of a worker's id: fewer name too many."""

WRITTEN = {
    "workers": ("note",),
    "deaths": ("stderr", "note"),
    "sessions": ("metadata",),
    "quarantine": ("certificate",),
}
"""Fields that may quote what others' requests did, by table."""

SHOWN_DIGITS = 8
"""Of a session's id, without a token: where there are no keys, whoever knows all of it may use the session."""

LISTS = {
    "workers": "workers",
    "sessions": "sessions",
    "jobs": "requests",
    "deaths": "deaths",
    "quarantine": "quarantine",
}
"""Paths under /api/v1, and the tables they show."""


def routes(house: House) -> list[Route]:
    """GET /api/v1/…"""

    def listing(path: str, table: str) -> Route:
        async def answer(request: Request) -> Response:
            asked = _asked(request, "pool", "limit")
            pool = _pool(house, asked["pool"]) if "pool" in asked else None
            most = numeral(asked, "limit", DEFAULT_ROWS, 1, MAX_ROWS)
            rows, total = _rows(house, table, pool, most)
            return JsonResponse({path: shown(table, rows, request.scope["right"]), "total": total})

        return Route(f"/api/v1/{path}", answer, methods=["GET"])

    async def broker(request: Request) -> Response:
        _asked(request)
        return JsonResponse(house.table("broker"))

    async def pools(request: Request) -> Response:
        _asked(request)
        rows = house.table("pools")
        return JsonResponse({"pools": rows, "total": len(rows)})

    async def pool(request: Request) -> Response:
        _asked(request)
        name = _pool(house, request.path_params["pool"])
        return JsonResponse(next(row for row in house.table("pools") if row["name"] == name))

    async def desired(request: Request) -> Response:
        _asked(request)
        name = _pool(house, request.path_params["pool"])
        row = next(row for row in house.table("pools") if row["name"] == name)
        found = {"pool": name, "desired": house.core.desired(name, house.now()), "workers": row["total"]}
        return JsonResponse(found | {key: row[key] for key in ("size", "least", "most", "queued", "busy")})

    async def worker(request: Request) -> Response:
        _asked(request)
        right = request.scope["right"]
        return JsonResponse(_one_worker(house, request.path_params["worker"], right))

    async def events(request: Request) -> Response:
        asked = _asked(request, "after", "limit", "name")
        found = house.feed.recent(numeral(asked, "after", 0, 0, 2**53))
        if "name" in asked:
            found = [event for event in found if event.name.startswith(asked["name"])]
        most = numeral(asked, "limit", DEFAULT_ROWS, 1, MAX_ROWS)
        rows = [event_row(event, request.scope["right"]) for event in found[-most:]]
        return JsonResponse({"events": rows, "last": house.feed.last})

    return [
        Route("/api/v1/broker", broker, methods=["GET"]),
        Route("/api/v1/pools", pools, methods=["GET"]),
        Route("/api/v1/pools/{pool}", pool, methods=["GET"]),
        Route("/api/v1/pools/{pool}/desired", desired, methods=["GET"]),
        *(listing(path, table) for path, table in LISTS.items()),
        Route("/api/v1/workers/{worker}", worker, methods=["GET"]),
        Route("/api/v1/events", events, methods=["GET"]),
    ]


def shown(table: str, rows: list[dict[str, Any]], right: Right) -> list[dict[str, Any]]:
    """The same rows, without WRITTEN where that is not for this reader."""
    hidden = WRITTEN.get(table)
    if not hidden or right >= Right.READ:
        return rows
    rows = [row | dict.fromkeys(hidden) for row in rows]
    return [row | {"id": row["id"][:SHOWN_DIGITS]} for row in rows] if table == "sessions" else rows


def event_row(event: Event, right: Right) -> dict[str, Any]:
    """An event as JSON; `note` and `reason` are text of others, and so is what an application tells."""
    fields = event.fields
    if right < Right.READ:
        if event.name.startswith(OWN):
            fields = {name: value for name, value in fields.items() if name in RESERVED}
        fields = {name: value for name, value in fields.items() if name not in ("note", "reason")}
        if "session" in fields:
            fields["session"] = fields["session"][:SHOWN_DIGITS]
    return {"number": event.number, "at": event.at, "name": event.name, "fields": fields}


def _rows(house: House, table: str, pool: str | None, most: int) -> tuple[list[dict[str, Any]], int]:
    """The first rows of a table, and how many there are. Of the long ones no more rows are made than are shown."""
    state, now = house.core.state, house.now()

    def is_of(it: Any) -> bool:
        return pool is None or (it.pool is not None and it.pool.name == pool)

    if table == "sessions":
        total = sum(not session.supposed for session in filter(is_of, state.sessions.values()))
        return sessions(state, now, is_of, most), total
    if table == "requests":
        return requests(state, now, is_of, most), sum(map(is_of, state.requests.values()))
    rows = [row for row in house.table(table) if pool is None or row["pool"] == pool]
    return rows[:most], len(rows)


def numeral(asked: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    """A number of the query.

    Raises:
        Problem: it is none, or out of its bounds.
    """
    text = asked.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= 16 and least <= int(text) <= most):
        raise Problem(400, "invalid_argument", f"{name}={text!r}: expected a number from {least} to {most}")
    return int(text)


def _asked(request: Request, *known: str) -> Mapping[str, str]:
    """The query, which says nothing that is not known: a filter with a slip of the pen would show everything."""
    found = request.query_params
    for name in found:
        if name not in known:
            what = f"there are: {', '.join(known)}" if known else "there is none here"
            raise Problem(400, "invalid_argument", f"no parameter {name!r}; {what}")
        if len(found.getlist(name)) > 1:
            raise Problem(400, "invalid_argument", f"{name} is given more than once")
    return found


def _pool(house: House, name: str) -> str:
    known = house.core.state.pools
    if name not in known:
        near = nearest(name, sorted(known))
        hint = f"; did you mean {near!r}?" if near else ""
        raise Problem(404, "unknown_pool", f"no pool {name!r}{hint}", pools=sorted(known))
    return name


def _one_worker(house: House, digits: str, right: Right) -> dict[str, Any]:
    """A worker that lives, or one that has died: its row, and its certificate."""
    digits = digits.lower()
    if len(digits) < MIN_DIGITS or not all(digit in string.hexdigits for digit in digits):
        text = f"{digits!r} is no worker's id: {MIN_DIGITS} of its hexadecimal digits at least"
        raise Problem(400, "invalid_argument", text)
    begins: Callable[[str], bool] = lambda it: it.startswith(digits)  # noqa: E731
    alive = {row["id"]: row for row in house.table("workers") if begins(row["id"])}
    dead = {row["worker"]: row for row in house.table("deaths") if begins(row["worker"])}
    found = sorted(alive.keys() | dead.keys())
    if len(found) != 1:
        text = (
            f"the ids of {len(found)} workers begin with {digits!r}"
            if found
            else f"no worker's id begins with {digits!r}"
        )
        raise Problem(404, "not_found", text, workers=found[:10])
    (found_id,) = found
    row, death = alive.get(found_id), dead.get(found_id)
    return {
        "id": found_id,
        "worker": shown("workers", [row], right)[0] if row else None,
        "death": shown("deaths", [death], right)[0] if death else None,
    }
