"""Every path of the HTTP side, and who answers it. What is wrong with a request is said in one form (`answers`)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from maitred.broker.web import operating, probes, tables
from maitred.broker.web.answers import JsonResponse, Problem, refusal
from maitred.broker.web.guard import Guard, Tokens
from maitred.broker.web.house import House
from maitred.broker.web.live import Live
from maitred.broker.web.openapi import document

__all__ = ["site"]

FILES = {"maitred.css": "text/css", "maitred.js": "text/javascript", "icon.svg": "image/svg+xml"}
"""What the page loads."""

PAGE = "index.html"


def site(house: House, live: Live, tokens: Tokens) -> ASGIApp:
    """All of it."""
    routes: Sequence[BaseRoute] = [
        Route("/", _page, methods=["GET"]),
        Route("/page/{file}", _file, methods=["GET"]),
        *probes.routes(lambda: house.table("readiness"), house.metrics),
        Route("/api/v1/openapi.json", _openapi, methods=["GET"]),
        *live.routes(),
        *tables.routes(house),
        *operating.routes(house),
    ]
    starlette = Starlette(routes=routes, exception_handlers={Problem: _problem, HTTPException: _http})
    starlette.router.redirect_slashes = False  # a path is exactly what it is: no scraper follows anybody elsewhere
    return Guard(starlette, tokens)


async def _page(_: Request) -> Response:
    return Response(_read(PAGE), media_type="text/html")


async def _file(request: Request) -> Response:
    name = request.path_params["file"]
    if name not in FILES:
        raise Problem(404, "not_found", f"no file {name!r}")
    return Response(_read(name), media_type=FILES[name])


async def _openapi(_: Request) -> Response:
    return JsonResponse(document())


@cache
def _read(name: str) -> bytes:
    return resources.files("maitred.broker.web").joinpath("page", name).read_bytes()


async def _problem(_: Request, problem: Any) -> Response:
    return refusal(problem)


async def _http(request: Request, error: Any) -> Response:
    """What starlette found wrong: the path, or the method."""
    text = {404: f"no path {request.url.path!r}; GET /api/v1/openapi.json lists them", 405: "not by this method"}
    code = "not_found" if error.status_code == 404 else "invalid_argument"
    answer = refusal(Problem(error.status_code, code, text.get(error.status_code) or str(error.detail)))
    answer.headers.update(error.headers or {})
    return answer
