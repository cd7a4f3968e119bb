"""Writes the tables in `docs/events.md` from the registry; `tests/docs/test_written_pages.py` uses it too.

python scripts/events.py --write
"""

from __future__ import annotations

import sys
from pathlib import Path

from maitred.protocol.events import EVENTS, Event

PAGE = Path(__file__).parents[1] / "docs" / "events.md"
MARK = "<!-- what follows is written by scripts/events.py -->\n"

AREAS = {
    "The broker": (
        "broker",
        "http",
        "memory",
        "descriptors",
        "endpoint",
        "connection",
        "connections",
        "peer",
        "protocol",
    ),
    "Who may": ("auth", "keys"),
    "Pools": ("pool",),
    "Agents and workers": ("agent", "worker"),
    "Clients and requests": ("client", "request", "reply"),
    "Sessions": ("session",),
    "Operators": ("operator",),
}


def written(page: str) -> str:
    """The page with its tables anew."""
    head, _, _ = page.partition(MARK)
    return head + MARK + tables()


def tables() -> str:
    """One for each area; every event is in one."""
    lines: list[str] = []
    rows = {area: [name for name in EVENTS if name.partition(".")[0] in subjects] for area, subjects in AREAS.items()}
    assert sorted(name for names in rows.values() for name in names) == sorted(EVENTS)
    for area, names in rows.items():
        lines += [f"\n## {area}\n", "| event | | what | fields |", "| --- | --- | --- | --- |"]
        lines += [
            f"| `{name}` | {_kind(EVENTS[name])} | {EVENTS[name].meaning} | {_fields(EVENTS[name])} |" for name in names
        ]
    return "\n".join(lines) + "\n"


def _kind(event: Event) -> str:
    return ", ".join(word for word, is_so in (("warning", event.warning), ("thinned", event.flood)) if is_so)


def _fields(event: Event) -> str:
    found: list[str] = []
    for name, told in event.fields.items():
        kind, _, meaning = told.partition(" ")
        found.append(f"`{name}` {kind}" + (f": {meaning}" if meaning else ""))
    return "; ".join(found) or "-"


if __name__ == "__main__":
    text = written(PAGE.read_text())
    if "--write" in sys.argv:
        PAGE.write_text(text)
    else:
        print(text)
