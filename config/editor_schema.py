"""JSON Schema of the configuration file, for editors; made from the same fields as the checks (`schema`)."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from maitred.config.schema import (
    MAX_CLIENTS,
    MAX_PATTERN_CHARS,
    MAX_POOLS,
    MAX_ROUTES,
    POOL_NAME_PATTERN,
    BrokerConfig,
    ClientConfig,
    PoolConfig,
    keys_of,
)

__all__ = ["json_schema"]


def json_schema() -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) of `maitred.toml`: what it accepts, and a sentence for each key."""
    routing = {
        "type": "object",
        "description": "Pattern of a command's name → the pool for requests that name none; the first match wins.",
        "propertyNames": {"minLength": 1, "maxLength": MAX_PATTERN_CHARS},
        "maxProperties": MAX_ROUTES,
        "additionalProperties": {"type": "string"},
    }
    pools = {
        "type": "object",
        "description": "The pools by name; where there is none, the three built-in ones.",
        "propertyNames": {"pattern": POOL_NAME_PATTERN},
        "maxProperties": MAX_POOLS,
        "additionalProperties": _table(PoolConfig),
    }
    clients = {
        "type": "object",
        "description": "What clients are given, by the name they call themselves or a pattern of it; the first match wins.",
        "propertyNames": {"minLength": 1, "maxLength": MAX_PATTERN_CHARS},
        "maxProperties": MAX_CLIENTS,
        "additionalProperties": _table(ClientConfig),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "maitred.toml",
        "type": "object",
        "properties": {"broker": _table(BrokerConfig), "pools": pools, "routing": routing, "clients": clients},
        "additionalProperties": False,
    }


def _table(table: type[Struct]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for key in keys_of(table).values():
        default = {} if key.default is None else {"default": key.default}
        properties[key.name] = {"description": key.doc, **default, **key.kind.schema()}
    doc = (table.__doc__ or "").partition("\n")[0]
    return {"type": "object", "description": doc, "properties": properties, "additionalProperties": False}
