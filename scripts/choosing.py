"""Writes the tables of `docs/choosing-a-pool.md` from the built-in configuration and adapters; `tests/docs` uses it too.

python scripts/choosing.py --write
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import Any

from maitred.config.loading import built_in_text
from maitred.worker import Service

PAGE = Path(__file__).parents[1] / "docs" / "choosing-a-pool.md"
MARK = "<!-- written by scripts/choosing.py, to the next heading -->\n"

POOL_KEYS = ("size", "timeout", "memory_limit", "gpu", "health_check_interval")


def pools(built_in: dict[str, Any]) -> Iterator[str]:
    """What each pool is set to."""
    yield "| pool | " + " | ".join(f"`{key}`" for key in POOL_KEYS) + " |"
    yield "| --- " * (len(POOL_KEYS) + 1) + "|"
    for name, pool in built_in["pools"].items():
        yield f"| `{name}` | " + " | ".join(str(pool.get(key, "")) for key in POOL_KEYS) + " |"


def routing(built_in: dict[str, Any]) -> Iterator[str]:
    """Where a command goes whose caller names no pool."""
    yield "| command | pool | its commands that match |"
    yield "| --- | --- | --- |"
    earlier: list[str] = []
    for pattern, pool in built_in["routing"].items():
        matching = [name for name in commands(built_in["pools"][pool]["adapter"]) if _matches(name, pattern, earlier)]
        earlier.append(pattern)
        yield f"| `{pattern}` | `{pool}` | {', '.join(f'`{name}`' for name in matching)} |"


def bundled(built_in: dict[str, Any]) -> Iterator[str]:
    """The commands that come with the pools."""
    yield "| pool | command | what it does |"
    yield "| --- | --- | --- |"
    for pool, settings in built_in["pools"].items():
        for name, about in commands(settings["adapter"]).items():
            yield f"| `{pool}` | `{name}` | {about} |"


def commands(adapter: str) -> dict[str, str]:
    """An adapter's commands, and the first line that each says of itself."""
    module, _, attribute = adapter.partition(":")
    service: Service = getattr(import_module(module), attribute)
    return {name: command.describe()["doc"] for name, command in service.commands.items()}


def written(page: str) -> str:
    """The page with its tables made anew: each stands from a mark to the next heading."""
    built_in = tomllib.loads(built_in_text())
    head, *parts = page.split(MARK)
    tables = (pools(built_in), routing(built_in), bundled(built_in))
    for rows, part in zip(tables, parts, strict=True):
        head += MARK + "\n" + "\n".join(rows) + "\n" + part[part.index("\n## ") :]
    return head


def _matches(name: str, pattern: str, earlier: list[str]) -> bool:
    return fnmatchcase(name, pattern) and not any(fnmatchcase(name, each) for each in earlier)


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        raise SystemExit(__doc__)
    PAGE.write_text(written(PAGE.read_text()))
