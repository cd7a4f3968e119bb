"""The API, described (OpenAPI 3.1): what is served at /api/v1/openapi.json, and what `docs/http.md` is written from.

Rows are described by their fields, each with a type in one word ("int?" may be null) and a meaning with its unit.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from maitred.broker.web.operating import COUNTED, OF_A_POOL, OF_A_WORKER
from maitred.protocol.version import VERSION

__all__ = ["document"]

TYPES: dict[str, Any] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "num": {"type": "number"},
    "bool": {"type": "boolean"},
    "map": {"type": "object"},
    "any": {},
    "strs": {"type": "array", "items": {"type": "string"}},
}

ROWS: dict[str, dict[str, str]] = {
    "Pool": {
        "name": "str",
        "available": "int workers that are ready and idle",
        "busy": "int workers that run something",
        "starting": "int workers that load",
        "spares": "int workers that load to take another's place",
        "retiring": "int workers that finish what they have, and go",
        "suspect": "int workers that have not been heard of for a while",
        "total": "int workers that have registered",
        "queued": "int requests that wait for a worker",
        "max_queue": "int requests that may wait or be with workers",
        "bytes": "int arguments of these requests",
        "max_bytes": "int bound of them",
        "level": "str how full it is: ok, high or full",
        "retry_after": "num? seconds that a client that is refused now would be told to wait",
        "rate": "num? requests a second that its workers finish",
        "expected_wait": "num? seconds until a new request would be begun",
        "sessions": "int open sessions",
        "max_sessions": "int",
        "oldest_wait": "num seconds that the oldest request in the queue has waited",
        "completed": "int requests that went well, since the broker started",
        "failed": "int requests that did not, of those accepted",
        "refused": "int requests that were not accepted",
        "service_time": "num? seconds that a request takes a worker, of late",
        "degraded": "str? why its workers cannot be started",
        "size": "int workers that its agents keep",
        "least": "int bound of size",
        "most": "int bound of size",
        "paused": "bool",
        "draining": "bool",
        "ready": "bool whether it can serve, as /readyz/POOL says",
        "reason": "str? why it cannot",
        "utilisation": "num? share of its workers' time that was busy, 0 to 1, as of its last health interval",
        "memory_limit": "int? bytes that a worker may take, as the broker's configuration has it",
        "restarts": "int workers that had to be replaced",
        "restarts_by_cause": "map cause to how many",
    },
    "Worker": {
        "id": "str 32 hexadecimal digits",
        "pool": "str",
        "host": "str?",
        "pid": "int?",
        "state": "str starting, spare, idle, busy, draining or suspect",
        "rss": "int? bytes of memory, its children's included",
        "gpu": "str? of which GPU",
        "gpu_bytes": "int? memory there",
        "gpu_use": "num? how busy that GPU is, 0 to 1",
        "requests": "int answered so far",
        "request": "str? what it runs: command and request",
        "request_age": "num? seconds that it has run",
        "age": "num seconds since it registered, or was started",
        "sessions": "int that it owns",
        "note": "str? why it goes, or what ails it; only with a token",
    },
    "Session": {
        "id": "str",
        "pool": "str?",
        "owner": "str? the worker that owns it",
        "pid": "int? of its process",
        "state": "str owned, homeless (until a worker has room) or lost",
        "epoch": "int how often it has moved",
        "ttl": "num seconds that it lives from its last request on",
        "left": "num seconds of these",
        "queued": "int requests that wait",
        "running": "bool",
        "requests": "int served",
        "age": "num seconds",
        "metadata": "any as its opener gave it; only with a token",
    },
    "Job": {
        "id": "str as in logs, and `Context.request_id` in its worker",
        "pool": "str",
        "command": "str",
        "state": "str queued or running",
        "age": "num seconds since it was received",
        "left": "num seconds to its deadline",
        "priority": "str low, normal or high",
        "attempt": "int",
        "bytes": "int of its arguments",
        "client": "str",
        "worker": "str? that has it",
    },
    "Death": {
        "worker": "str",
        "pool": "str",
        "cause": "str oom, signal, exit, timeout, cancelled, heartbeat, node_lost, recycle, drain or operator",
        "signal": "str?",
        "exit_code": "int?",
        "peak_rss": "int? bytes",
        "stderr": "str? its last words; only with a token",
        "note": "str? only with a token",
        "host": "str?",
        "pid": "int?",
        "ended": "num seconds ago",
    },
    "Quarantined": {
        "fingerprint": "str",
        "pool": "str",
        "command": "str",
        "deaths": "int workers that it killed",
        "last_cause": "str",
        "certificate": "map? of the last one; only with a token",
        "age": "num seconds since then",
    },
    "Event": {
        "number": "int counts from 1 in this broker's life",
        "at": "num seconds since 1970",
        "name": "str",
        "fields": "map",
    },
    "Broker": {
        "epoch": "str which life of the broker this is",
        "software": "str",
        "uptime": "num seconds",
        "draining": "bool",
        "clients": "int connected",
        "requests": "int unanswered",
        "bytes": "int of their arguments",
        "counts": "map events, by name",
    },
    "Desired": {
        "pool": "str",
        "desired": "int workers that would do for its load",
        "workers": "int that there are",
        "size": "int that its agents keep",
        "queued": "int",
        "busy": "int",
    },
    "OneWorker": {
        "id": "str",
        "worker": "map? its row, while it lives",
        "death": "map? its certificate, once it has died",
    },
}

LISTS = {
    "workers": ("Worker", "Worker processes, those that are starting included."),
    "sessions": ("Session", "Open sessions, the oldest first."),
    "jobs": ("Job", "Requests that are unanswered, the oldest first."),
    "deaths": ("Death", "Workers that have died, the last one first."),
    "quarantine": ("Quarantined", "Requests that killed workers, and are refused."),
}

VERBS = {
    "pause": "Hold its queue: admit, and give nothing to workers.",
    "resume": "End a pause, a drain and a degraded state.",
    "drain": "Refuse what is new, finish what is there.",
    "recycle": "Replace workers, each once another one is ready.",
    "scale": "Keep n workers.",
    "retire": "End at most n workers that do nothing and own no session, say which, and keep as many fewer.",
}


@cache
def document() -> dict[str, Any]:
    """The whole of it."""
    paths: dict[str, Any] = {
        "/api/v1/broker": _get("Broker", "The broker itself."),
        "/api/v1/pools": _get(_list("pools", "Pool"), "Pools, in the order of the configuration."),
        "/api/v1/pools/{pool}": _get("Pool", "One of them.", _in_path("pool")),
        "/api/v1/pools/{pool}/desired": _get(
            "Desired", "How many workers would do for its load: for scalers outside.", _in_path("pool")
        ),
        "/api/v1/workers/{worker}": _get(
            "OneWorker", "A worker that lives or has died, by four digits of its id or more.", _in_path("worker")
        ),
        "/api/v1/events": _get(
            {
                "type": "object",
                "properties": {"events": {"type": "array", "items": _ref("Event")}, "last": {"type": "integer"}},
                "required": ["events", "last"],
            },
            "The last events, the oldest first; `after` the number of the last one known.",
            _in_query("after", 0, 2**53),
            _in_query("limit", 1, 10_000),
            {"name": "name", "in": "query", "schema": {"type": "string"}, "description": "how their names begin"},
        ),
        "/api/v1/live": {
            "get": {
                "summary": "What the page shows, each second, as server-sent events: hello, snapshot, events.",
                "responses": {
                    "200": {"description": "A stream without end.", "content": {"text/event-stream": {}}},
                    **_ERRORS,
                },
            }
        },
    }
    for path, (row, what) in LISTS.items():
        pool = {"name": "pool", "in": "query", "schema": {"type": "string"}, "description": "of this one only"}
        paths[f"/api/v1/{path}"] = _get(_list(path, row), what, pool, _in_query("limit", 1, 10_000))
    for kind, verbs in (("pool", OF_A_POOL), ("worker", OF_A_WORKER)):
        for verb in verbs:
            count = [{**_in_query("n", COUNTED[verb], 2**16), "required": True}] if verb in COUNTED else []
            paths[f"/api/v1/{kind}s/{{{kind}}}/{verb}"] = {
                "post": {
                    "summary": VERBS[verb],
                    "parameters": [_in_path(kind), *count],
                    "security": [{"operator": []}],
                    "responses": {"200": _answer({"type": "object"}, "What was done."), **_ERRORS},
                }
            }
    bearer = {"type": "http", "scheme": "bearer"}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "maitred",
            "version": VERSION,
            "description": "What a broker says of itself, and what an operator may have done.",
        },
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": {name: _row(fields) for name, fields in ROWS.items()} | {"Error": _ERROR},
            "securitySchemes": {"reader": bearer, "operator": bearer},
        },
    }


_ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
            "required": ["code", "message"],
        }
    },
    "required": ["error"],
}


def _row(fields: dict[str, str]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for name, told in fields.items():
        kind, _, meaning = told.partition(" ")
        schema = dict(TYPES[kind.removesuffix("?")])
        if kind.endswith("?") and "type" in schema:
            schema["type"] = [schema["type"], "null"]
        properties[name] = schema | ({"description": meaning} if meaning else {})
    return {"type": "object", "properties": properties, "required": list(fields)}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(key: str, row: str) -> dict[str, Any]:
    total = {"type": "integer", "description": "how many there are, those left out included"}
    properties = {key: {"type": "array", "items": _ref(row)}, "total": total}
    return {"type": "object", "properties": properties, "required": [key, "total"]}


def _answer(schema: dict[str, Any], what: str) -> dict[str, Any]:
    return {"description": what, "content": {"application/json": {"schema": schema}}}


_ERRORS = {"default": _answer(_ref("Error"), "It was refused; code and sentence say why.")}


def _get(schema: str | dict[str, Any], what: str, *parameters: dict[str, Any]) -> dict[str, Any]:
    found = _ref(schema) if isinstance(schema, str) else schema
    return {
        "get": {"summary": what, "parameters": [*parameters], "responses": {"200": _answer(found, what), **_ERRORS}}
    }


def _in_path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _in_query(name: str, least: int, most: int) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": {"type": "integer", "minimum": least, "maximum": most}}
