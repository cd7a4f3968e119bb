"""A key of the configuration: its name, the kind of its value, its default, and a sentence about it.

A table is a struct whose fields carry one `Key` each; loading, `config show`, JSON Schema and the documentation read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, get_type_hints

from msgspec import Struct

from maitred.config.kinds import Kind

__all__ = ["Key", "keys_of"]

KIB, MIB, GIB = 2**10, 2**20, 2**30
HOUR_S, DAY_S = 3600.0, 86400.0


class Key(Struct, frozen=True):
    """One TOML key.

    Attributes:
        name: as written in the file.
        kind: what values it takes.
        default: as it would be written in the file; None: there is none.
        doc: what it does and why the default is what it is, in a sentence or two.
    """

    name: str
    kind: Kind
    default: Any
    doc: str


@cache
def keys_of(table: type[Struct]) -> Mapping[str, Key]:
    """The keys of a table, by the field that each is resolved to."""
    hints = get_type_hints(table, include_extras=True)
    notes = {field: getattr(hint, "__metadata__", (None,))[0] for field, hint in hints.items()}
    return {field: key for field, key in notes.items() if isinstance(key, Key)}
