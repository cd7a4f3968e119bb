"""Pages with a part that is written from the code have that part as the code is now."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


def script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"{name}_script", SCRIPTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["api_page", "choosing", "commands", "configuration", "events"])
def test_it_says_what_the_code_says(name: str) -> None:
    it = script(name)
    page = it.PAGE.read_text()
    assert page == it.written(page), f"write it anew: python scripts/{name}.py --write"
