"""`docs/events.md` has every event: `python scripts/events.py --write` writes it anew."""

from __future__ import annotations

import importlib.util
from pathlib import Path

PLACE = Path(__file__).parents[2] / "scripts" / "events.py"


def test_the_page_has_every_event() -> None:
    spec = importlib.util.spec_from_file_location("events_script", PLACE)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    page = script.PAGE.read_text()
    assert page == script.written(page), "write it anew: python scripts/events.py --write"
