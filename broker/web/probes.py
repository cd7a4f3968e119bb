"""Whether the broker lives, whether its pools can serve, and its numbers: for supervisors, balancers and scrapers.

    GET /healthz         200: the process lives, and its loop turns
    GET /readyz          200: a pool at least can serve; 503: none can; with the reason of each that cannot
    GET /readyz/POOL     200: this one can; 503 with the reason; 404: there is no such pool
    GET /metrics         for Prometheus (see `metrics`)

Who may not look (`guard`) is told the same, without a reason and without the names of pools.

A single pool that is ill must not take the others from whoever goes by `/readyz`; who depends on one asks for that one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from maitred.broker.web.answers import JsonResponse

__all__ = ["routes"]


def routes(
    readiness: Callable[[], dict[str, Any]], metrics: Callable[[str], tuple[bytes, str]] | None = None
) -> list[Route]:
    """Those above.

    Args:
        readiness: the broker's table of that name.
        metrics: by the header `Accept`, the page of `/metrics` and its content type; None: there is no such page.
    """

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        return _answer(request, readiness())

    async def readyz_of(request: Request) -> Response:
        name, pools = request.path_params["pool"], readiness()["pools"]
        if name not in pools:
            if request.scope["right"] is None:
                return _answer(request, {"ready": False})
            return JsonResponse({"ready": False, "reason": f"no pool {name!r}", "pools": sorted(pools)}, 404)
        return _answer(request, pools[name])

    async def metrics_page(request: Request) -> Response:
        assert metrics is not None
        page, content_type = metrics(",".join(request.headers.getlist("Accept")))
        return Response(page, headers={"Content-Type": content_type})

    found = [Route("/healthz", healthz), Route("/readyz", readyz), Route("/readyz/{pool}", readyz_of)]
    return [*found, Route("/metrics", metrics_page)] if metrics is not None else found


def _answer(request: Request, found: dict[str, Any]) -> Response:
    ready = found["ready"]
    return JsonResponse(found if request.scope["right"] is not None else {"ready": ready}, 200 if ready else 503)
