"""What an operator may have done by HTTP: the verbs of the command line, one POST each. They always need his token."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from maitred.broker.web.answers import JsonResponse, Problem
from maitred.broker.web.guard import Right
from maitred.broker.web.house import House
from maitred.broker.web.tables import numeral
from maitred.protocol import limits

__all__ = ["OF_A_POOL", "OF_A_WORKER", "routes"]

OF_A_POOL = ("pause", "resume", "drain", "recycle", "scale", "retire")
OF_A_WORKER = ("drain", "recycle")
COUNTED = {"scale": 0, "retire": 1}
"""Verbs that need `?n=`, and the least that it may be."""

WHERE = {Right.LOOK: "no token was shown", Right.READ: "this token is for reading"}


def routes(house: House) -> list[Route]:
    """POST /api/v1/pools/POOL/VERB and /api/v1/workers/ID/VERB."""

    async def of_a_pool(request: Request) -> Response:
        pool, verb = request.path_params["pool"], request.path_params["verb"]
        if pool not in house.core.state.pools:
            raise Problem(404, "unknown_pool", f"no pool {pool!r}", pools=sorted(house.core.state.pools))
        return _do(house, request, verb, pool, OF_A_POOL)

    async def of_a_worker(request: Request) -> Response:
        worker, verb = request.path_params["worker"], request.path_params["verb"]
        if worker in house.core.state.pools:
            raise Problem(404, "not_found", f"{worker!r} is a pool: /api/v1/pools/{worker}/{verb}")
        return _do(house, request, verb, worker, OF_A_WORKER)

    return [
        Route("/api/v1/pools/{pool}/{verb}", of_a_pool, methods=["POST"]),
        Route("/api/v1/workers/{worker}/{verb}", of_a_worker, methods=["POST"]),
    ]


def _do(house: House, request: Request, verb: str, target: str, verbs: tuple[str, ...]) -> Response:
    right: Any = request.scope["right"]
    if right < Right.OPERATE:
        text = (
            f"{verb} is for operators, and {WHERE[right]}: Authorization: Bearer TOKEN (`maitred dashboard` shows it)"
        )
        raise Problem(403, "permission_denied", text, missing="operate")
    if verb not in verbs:
        raise Problem(404, "invalid_argument", f"no verb {verb!r}; there are: {', '.join(verbs)}", verbs=verbs)
    asked = request.query_params
    counted = verb in COUNTED
    for name in asked:
        if name != "n" or not counted:
            raise Problem(400, "invalid_argument", f"no parameter {name!r} of {verb}")
    if counted:
        if "n" not in asked:
            raise Problem(400, "invalid_argument", f"{verb}?n=… says how many workers")
        target = f"{target}={numeral(asked, 'n', 0, COUNTED[verb], limits.MAX_AGENT_WORKERS)}"
    done = house.operate(verb, target)
    if isinstance(done, str):
        raise Problem(409, "invalid_argument", done)
    return JsonResponse(done)
