"""`docs/metrics.md` lists what is scraped. `python tests/broker/test_metrics_document.py --write` writes it anew."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from maitred.broker.metrics import POOLS, PROCESS, WORKERS
from maitred.broker.metrics_families import Family

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
MARKS = {"Pools": POOLS, "Workers": WORKERS, "Broker": PROCESS}


def rows(families: Iterable[Family]) -> Iterator[str]:
    yield "| name | type | unit | labels | meaning |"
    yield "| --- | --- | --- | --- | --- |"
    for it in families:
        labels = ", ".join(f"`{label}`" for label in it.labels)
        yield f"| `{it.name}` | {it.kind} | {it.unit} | {labels} | {it.text} |"


def written(page: str) -> str:
    """The page, with its tables made anew."""
    for mark, families in MARKS.items():
        head, rest = page.split(f"## {mark}\n", 1)
        following = rest.find("\n## ")
        tail = rest[following:] if following >= 0 else ""
        page = f"{head}## {mark}\n\n" + "\n".join(rows(families)) + "\n" + tail
    return page


def test_the_page_lists_what_is_scraped() -> None:
    page = PAGE.read_text()
    assert page == written(page), "write it anew: python tests/broker/test_metrics_document.py --write"


def test_the_page_names_nothing_else() -> None:
    families = {family.name for families in MARKS.values() for family in families}
    named = set(re.findall(r"\bmaitred_[a-z_]+[a-z]", PAGE.read_text()))
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in named} <= families


if __name__ == "__main__" and sys.argv[1:] == ["--write"]:
    PAGE.write_text(written(PAGE.read_text()))
