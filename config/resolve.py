"""From tables to resolved structs: each key is known, and its value is what the key takes. Key by key, and on after
something was wrong: a key that is wrong is resolved to its default, so that the rest can still be checked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from msgspec import Struct

from maitred.config.document import Document
from maitred.config.hardware import Hardware
from maitred.config.kinds import Size
from maitred.config.problems import Problem, ValueRejected, nearest, shown
from maitred.config.schema import (
    MAX_CLIENTS,
    MAX_PATTERN_CHARS,
    MAX_POOLS,
    MAX_ROUTES,
    POOL_NAME_FORM,
    POOL_NAME_PATTERN,
    BrokerConfig,
    ClientConfig,
    Config,
    Key,
    PoolConfig,
    keys_of,
)
from maitred.config.toml_text import dotted

__all__ = ["TABLES", "resolve"]

TABLES = ("broker", "pools", "routing", "clients")

T = TypeVar("T", bound=Struct)


def resolve(document: Document, hardware: Hardware, source: Path | None) -> tuple[Config, list[Problem]]:
    """Resolve a document; returns what could be resolved, and everything that could not."""
    resolution = _Resolution(document, hardware)
    return resolution.config(source), resolution.problems


class _Resolution:
    def __init__(self, document: Document, hardware: Hardware) -> None:
        self._document = document
        self._hardware = hardware
        self.problems: list[Problem] = []

    def config(self, source: Path | None) -> Config:
        for name, value in self._document.tables.items():
            if name not in TABLES:
                self._unknown((name,), value, TABLES)
        broker = self._struct(BrokerConfig, ("broker",), {})
        pools = self._pools()
        routing = self._routing()
        origins = {dotted(path): where for path, where in self._document.origins.items()}
        return Config(broker, pools, routing, self._clients(), source, origins)

    def _pools(self) -> dict[str, PoolConfig]:
        table = self._table(("pools",))
        if len(table) > MAX_POOLS:
            self._add(("pools",), None, accepted=f"at most {MAX_POOLS} pools", reason=f"has {len(table)}")
        pools: dict[str, PoolConfig] = {}
        for name, value in table.items():
            path = ("pools", name)
            if not re.fullmatch(POOL_NAME_PATTERN, name):
                self._add(path, None, reason="no name for a pool", accepted=POOL_NAME_FORM)
            elif not isinstance(value, dict) and name in keys_of_names(PoolConfig):
                self._add(path, value, reason="a pool's key outside of a pool", accepted="it in [pools.NAME]")
            else:
                pools[name] = self._pool(name, path)
        return pools

    def _pool(self, name: str, path: tuple[str, ...]) -> PoolConfig:
        table = self._document.table(*path)
        size = {} if "adapter" in table else {"size": Size(0, 0)}
        pool = self._struct(PoolConfig, path, {"name": name} | size)
        if "adapter" not in table and pool.size.max > 0:
            reason = "a pool without an adapter is served only by workers that register from outside"
            self._add((*path, "size"), table["size"], reason=reason, accepted="an adapter besides, or no size")
        return pool

    def _routing(self) -> dict[str, str]:
        table = self._table(("routing",))
        if len(table) > MAX_ROUTES:
            self._add(("routing",), None, accepted=f"at most {MAX_ROUTES} patterns", reason=f"has {len(table)}")
        routing: dict[str, str] = {}
        for pattern, pool in table.items():
            if not 0 < len(pattern) <= MAX_PATTERN_CHARS:
                accepted = f"a pattern of 1 to {MAX_PATTERN_CHARS} characters"
                self._add(("routing", pattern), pool, reason=f"the pattern has {len(pattern)}", accepted=accepted)
            elif isinstance(pool, str):
                routing[pattern] = pool
            else:
                hint = 'the name of a pool, as in "train_*" = "neural" (patterns with . or * in quotes)'
                self._add(("routing", pattern), pool, accepted=hint)
        return routing

    def _clients(self) -> dict[str, ClientConfig]:
        table = self._table(("clients",))
        if len(table) > MAX_CLIENTS:
            self._add(("clients",), None, accepted=f"at most {MAX_CLIENTS} names", reason=f"has {len(table)}")
        clients: dict[str, ClientConfig] = {}
        for pattern in table:
            path = ("clients", pattern)
            if not 0 < len(pattern) <= MAX_PATTERN_CHARS:
                accepted = f"a name or pattern of 1 to {MAX_PATTERN_CHARS} characters"
                self._add(path, None, reason=f"it has {len(pattern)}", accepted=accepted)
            else:
                clients[pattern] = self._struct(ClientConfig, path, {})
        return clients

    def _struct(self, kind: Callable[..., T], path: tuple[str, ...], resolved: Mapping[str, Any]) -> T:
        """One table: every key that is known, its default where it is absent or wrong."""
        table, keys = self._table(path), keys_of(cast("type[Struct]", kind))
        for name, value in table.items():
            if name not in {key.name for key in keys.values()}:
                self._unknown((*path, name), value, [key.name for key in keys.values()])
        values = dict(resolved)
        for field, key in keys.items():
            found = self._value(key, (*path, key.name), table[key.name]) if key.name in table else None
            if found is not None:
                values[field] = found
            else:
                values.setdefault(field, self._default(key))
        return kind(**values)

    def _value(self, key: Key, path: tuple[str, ...], value: Any) -> Any:
        try:
            return key.kind.read(value, self._hardware)
        except ValueRejected as error:
            self._add(path, value, reason=error.reason, accepted=error.accepted, near=error.nearest)
            return None

    def _default(self, key: Key) -> Any:
        return None if key.default is None else key.kind.read(key.default, self._hardware)

    def _table(self, path: tuple[str, ...]) -> dict[str, Any]:
        value: Any = self._document.table(*path[:-1]).get(path[-1], {})
        if not isinstance(value, dict):
            self._add(path, value, accepted=f"a table: [{dotted(path)}]")
        return self._document.table(*path)

    def _unknown(self, path: tuple[str, ...], value: Any, known: Any) -> None:
        near = nearest(path[-1], known)
        elsewhere = [label for label, names in _PLACES.items() if path[-1] in names]
        reason = "unknown key" + (f", it belongs in {elsewhere[0]}" if elsewhere and not near else "")
        shown_value = None if isinstance(value, dict) else value
        self._add(path, shown_value, reason=reason, accepted=f"one of {', '.join(known)}", near=near)

    def _add(
        self, path: tuple[str, ...], value: Any, *, accepted: str, reason: str = "", near: str | None = None
    ) -> None:
        text = "" if value is None else shown(value)
        self.problems.append(Problem(self._document.origin(path), dotted(path), text, reason, accepted, near))


def keys_of_names(table: type[Struct]) -> list[str]:
    """The TOML names of a table's keys."""
    return [key.name for key in keys_of(table).values()]


_PLACES = {
    "[broker]": keys_of_names(BrokerConfig),
    "[pools.NAME]": keys_of_names(PoolConfig),
    "[clients.NAME]": keys_of_names(ClientConfig),
}
