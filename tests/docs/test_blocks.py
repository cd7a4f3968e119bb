"""Every block of code in the README and on the pages is run, as it stands there, page by page, in one running house.

What a page says of a block in a comment before it, and in which languages there may be blocks: `page_blocks`,
`page_runners`. Blocks of a page share a namespace, which begins with what `page_names` has for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from page_blocks import PAGES, ROOT, Block, blocks
from page_house import PageHouse
from page_names import names_of
from page_runners import RUNNERS, usage_only

from maitred.client import Client

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

BY_FAMILY = "commands.md"
"""The page whose examples are many, and are run family by family: `maitred workers ls`, `maitred workers show`."""

MAX_NOT_RUN = 30
"""Blocks that are not run, each with its reason on its page. It may shrink."""


def parts() -> Iterator[tuple[str, list[Block]]]:
    for page in PAGES:
        name = str(page.relative_to(ROOT))
        if page.name == BY_FAMILY:
            for family, those in groupby(blocks(page), lambda block: " ".join(block.section.split()[:2])):
                yield f"{name}: {family}", list(those)
        elif found := blocks(page):
            yield name, found


PARTS = list(parts())


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageHouse]:
    house = PageHouse(tmp_path_factory.mktemp("pages"))
    yield house
    house.close()


@pytest.mark.parametrize("those", [pytest.param(those, id=name) for name, those in PARTS])
def test_a_page(house: PageHouse, those: list[Block], monkeypatch: pytest.MonkeyPatch) -> None:
    house.begin_page(str(those[0].page.relative_to(ROOT)) + those[0].section)
    for name in ("MAITRED_RUN_DIR", "XDG_CONFIG_HOME", "HOME"):
        monkeypatch.setenv(name, house.shell.environment[name])
    monkeypatch.chdir(house.shell.directory)
    names = names_of(those[0].page, house)
    try:
        for block in those:
            assert block.language in RUNNERS, f"{block}: what is {block.language!r}? say ```text where it is no code"
            if not block.not_run and not block.run_by:
                RUNNERS[block.language](block, house, names)
            else:
                usage_only(block)
    finally:
        close_clients(names)
        house.end_page()


def close_clients(names: dict[str, Any]) -> None:
    """A page does not say each time that a client is to be closed."""
    for value in names.values():
        if isinstance(value, Client):
            value.close()


def test_what_is_not_run_is_counted() -> None:
    left_out = [f"{block}: {block.not_run}" for _, those in PARTS for block in those if block.not_run]
    print(*left_out, sep="\n")
    assert len(left_out) <= MAX_NOT_RUN


def test_the_readme_is_among_them() -> None:
    assert [Path(ROOT / "README.md")] == PAGES[:1]
    assert len(PARTS) > 30
