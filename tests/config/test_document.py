"""`docs/configuration.md` says what the schema says. `python tests/config/test_document.py --write` writes it anew."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from maitred.config import BrokerConfig, ClientConfig, PoolConfig
from maitred.config.schema import keys_of

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
MARKS = {"[broker]": BrokerConfig, "[pools.NAME]": PoolConfig, "[clients.NAME]": ClientConfig}


def rows(table: type[Struct]) -> Iterator[str]:
    yield "| key | default | accepted | what it does |"
    yield "| --- | --- | --- | --- |"
    for key in keys_of(table).values():
        default = "" if key.default is None else f"`{key.default!r}`".replace("'", '"').replace("False", "false")
        accepts = key.kind.accepts.replace("|", "\\|")
        yield f"| `{key.name}` | {default} | {accepts} | {key.doc.replace('|', chr(92) + '|')} |"


def written(page: str) -> str:
    """The page, with its tables made anew."""
    for mark, table in MARKS.items():
        head, rest = page.split(f"## `{mark}`\n", 1)
        following = rest.find("\n## ")
        tail = rest[following:] if following >= 0 else ""
        page = f"{head}## `{mark}`\n\n" + "\n".join(rows(table)) + "\n" + tail
    return page


def test_the_page_says_what_the_schema_says() -> None:
    page = PAGE.read_text()
    assert page == written(page), "write it anew: python tests/config/test_document.py --write"


if __name__ == "__main__" and sys.argv[1:] == ["--write"]:
    PAGE.write_text(written(PAGE.read_text()))
