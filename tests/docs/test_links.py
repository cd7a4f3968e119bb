"""Every link to a page, a heading or a file leads somewhere, as a Git host shows it; at the site looks `make docs`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from page_blocks import PAGES, ROOT

ALL = [*PAGES, ROOT / "CHANGELOG.md", *ROOT.glob("examples/**/README.md"), *ROOT.glob("deploy/**/*.md")]
ALL = [page for page in ALL if "node_modules" not in page.parts]


def tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text())


def links(page: Path) -> Iterator[str]:
    for token in tokens(page):
        for child in token.children or ():
            if child.type in ("link_open", "image"):
                yield str(child.attrs.get("href") or child.attrs.get("src"))


@cache
def anchors(page: Path) -> set[str]:
    """Of its headings, as Git hosts and the site name them: in small letters, blanks as hyphens, no other signs."""
    found: list[str] = []
    whole = tokens(page)
    for before, token in itertools.pairwise(whole):
        if before.type == "heading_open":
            text = "".join(child.content for child in token.children or () if child.type in ("text", "code_inline"))
            slug = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
            found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
    return set(found)


@pytest.mark.parametrize("page", ALL, ids=lambda page: str(page.relative_to(ROOT)))
def test_its_links_lead_somewhere(page: Path) -> None:
    wrong: list[str] = []
    for link in links(page):
        if re.match(r"https?:|mailto:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or not target.is_relative_to(ROOT):
            wrong.append(f"{link}: no such file")
        elif anchor and anchor not in anchors(target):
            wrong.append(f"{link}: no such heading; there are {sorted(anchors(target))}")
    assert not wrong, "\n".join(wrong)


def test_every_page_is_in_the_contents() -> None:
    docs = ROOT / "docs"
    for folder in (docs, docs / "adr", docs / "benchmarks", docs / "api"):
        index = folder / "README.md" if (folder / "README.md").exists() else docs / "README.md"
        listed = {(index.parent / link.partition("#")[0]).resolve() for link in links(index)}
        assert not [page.name for page in folder.glob("*.md") if page != index and page.resolve() not in listed]
