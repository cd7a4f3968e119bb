"""`docs/http.md` says what the API says of itself: `python scripts/api_page.py --write` writes it anew."""

from __future__ import annotations

import importlib.util
from pathlib import Path

PLACE = Path(__file__).parents[2] / "scripts" / "api_page.py"


def test_the_page_says_what_the_api_says() -> None:
    spec = importlib.util.spec_from_file_location("api_page_script", PLACE)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    page = script.PAGE.read_text()
    assert page == script.written(page), "write it anew: python scripts/api_page.py --write"
