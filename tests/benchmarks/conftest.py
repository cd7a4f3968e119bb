"""What compares times has the machine to itself."""

from __future__ import annotations

from pathlib import Path

import pytest

COMPARING = {Path(__file__).parent / f"test_{name}.py" for name in ("guard", "fairness", "returns", "depth")}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path in COMPARING:
            item.add_marker(pytest.mark.alone)
