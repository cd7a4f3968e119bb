"""The configuration in force, as it would be written: every key, defaults included, in units for people."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from maitred.config.schema import Config, keys_of
from maitred.config.toml_text import dotted, inline, key

__all__ = ["as_toml", "show"]


def show(config: Config) -> dict[str, Any]:
    """What is in force, as plain values by table (broker, pools, routing, clients); keys without a value are None."""
    return {
        "broker": _table(config.broker),
        "pools": {name: _table(pool) for name, pool in config.pools.items()},
        "routing": dict(config.routing),
        "clients": {name: _table(client) for name, client in config.clients.items()},
        "source": str(config.source) if config.source else None,
    }


def as_toml(config: Config) -> str:
    """The same as TOML text, which loads back to the same; expressions have become this host's numbers."""
    shown = show(config)
    sections = [_section(("broker",), shown["broker"])]
    sections += [_section(("pools", name), pool) for name, pool in shown["pools"].items()]
    sections.append(_section(("routing",), shown["routing"]))
    sections += [_section(("clients", name), client) for name, client in shown["clients"].items()]
    return f"# from {shown['source'] or 'the built-in configuration'}\n\n" + "\n".join(sections)


def _table(table: Struct) -> dict[str, Any]:
    values = {key.name: (key.kind, getattr(table, field)) for field, key in keys_of(type(table)).items()}
    return {name: None if value is None else kind.write(value) for name, (kind, value) in values.items()}


def _section(path: tuple[str, ...], table: dict[str, Any]) -> str:
    lines = [f"{key(name)} = {inline(value)}\n" for name, value in table.items() if value is not None]
    return f"[{dotted(path)}]\n" + "".join(lines)
