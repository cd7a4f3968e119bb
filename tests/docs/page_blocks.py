"""The code blocks of a page, and what the page says of each to whoever runs them.

A comment right before a block, which no reader sees, says so where a block is not simply run:

    <!-- not run: why not -->          it needs another host, say; `maitred` commands in it are checked for their options
    <!-- goes on -->                   it runs beside those after it, to the end of the page
    <!-- exit code 1 -->               it shows a failure
    <!-- run by tests/… -->            another test types it, which is named
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

SAID = re.compile(r"<!--\s*(not run|goes on|exit code|run by)\s*:?\s*(.*?)\s*-->", re.S)
NAMED = re.compile(r"\A(?:#|//) ([\w./-]+\.(?:py|toml))\n")


@dataclass(frozen=True)
class Block:
    """One block. `line` is that of its first line of code, from 1; `language` is "" where it has none."""

    page: Path
    line: int
    language: str
    text: str
    section: str
    not_run: str = ""
    goes_on: bool = False
    exit_code: int = 0
    run_by: str = ""

    @property
    def file(self) -> str:
        """The file that it is, by its first line (`# sentiment.py`); "" where it is none."""
        named = NAMED.match(self.text)
        return named[1] if named else ""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    return list(_blocks(page))


def _blocks(page: Path) -> Iterator[Block]:
    tokens = MarkdownIt("commonmark").enable("table").parse(page.read_text())
    section, comments = "", ""
    for before, token in pairwise(tokens):
        if before.type == "heading_open" and before.tag == "h2":
            section = token.content
        if token.type == "html_block":
            comments += token.content
            continue
        said, comments = dict(SAID.findall(comments)), ""
        if token.type not in ("fence", "code_block"):
            continue
        assert token.map is not None
        assert said.get("not run", "why"), f"{page}:{token.map[0]}: say why it is not run"
        assert (ROOT / said.get("run by", "")).exists(), f"{page}:{token.map[0]}: there is no such test"
        yield Block(
            page,
            token.map[0] + (2 if token.type == "fence" else 1),
            token.info.strip(),
            token.content,
            section,
            not_run=said.get("not run", ""),
            goes_on="goes on" in said,
            exit_code=int(said.get("exit code", 0)),
            run_by=said.get("run by", ""),
        )
