"""Writes the tables of `docs/configuration.md` from the schema; `tests/docs` uses it too.

python scripts/configuration.py --write
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from maitred.config import BrokerConfig, ClientConfig, PoolConfig
from maitred.config.schema import keys_of

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"
MARKS: dict[str, type[Struct]] = {"[broker]": BrokerConfig, "[pools.NAME]": PoolConfig, "[clients.NAME]": ClientConfig}


def rows(table: type[Struct]) -> Iterator[str]:
    """The reference of one table: a row for each key."""
    yield "| key | default | accepted | what it does |"
    yield "| --- | --- | --- | --- |"
    for key in keys_of(table).values():
        default = "" if key.default is None else f"`{key.default!r}`".replace("'", '"').replace("False", "false")
        yield f"| `{key.name}` | {default} | {_cell(key.kind.accepts)} | {_cell(key.doc)} |"


def written(page: str) -> str:
    """The page, with its tables made anew."""
    for mark, table in MARKS.items():
        head, rest = page.split(f"## `{mark}`\n", 1)
        following = rest.find("\n## ")
        tail = rest[following:] if following >= 0 else ""
        page = f"{head}## `{mark}`\n\n" + "\n".join(rows(table)) + "\n" + tail
    return page


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        raise SystemExit(__doc__)
    PAGE.write_text(written(PAGE.read_text()))
