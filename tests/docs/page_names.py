"""What each page takes for given: names that its blocks use and that their reader has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from page_blocks import ROOT
from page_house import PageHouse
from page_runners import Enough


class Crawler:
    """Of a page on pressure: a loop that would wait for the next change ends with the first one."""

    def pause(self) -> None:
        raise Enough

    resume = pause


def backpressure(_: PageHouse) -> dict[str, Any]:
    return {"crawler": Crawler()}


class Database:
    def is_connected(self) -> bool:
        return True


def services(_: PageHouse) -> dict[str, Any]:
    return {"database": Database()}


NAMES: dict[str, Callable[[PageHouse], dict[str, Any]]] = {
    "docs/backpressure.md": backpressure,
    "docs/services.md": services,
}


def names_of(page: Path, house: PageHouse) -> dict[str, Any]:
    """A fresh namespace for the blocks of a page."""
    make = NAMES.get(str(page.relative_to(ROOT)), lambda _: {})
    return {"__name__": "a_page", **make(house)}
