"""Writes the reference in `docs/http.md` from the API's own description; `tests/docs/test_written_pages.py` uses it too.

python scripts/api_page.py --write
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from maitred.broker.web.openapi import document

PAGE = Path(__file__).parents[1] / "docs" / "http.md"
MARK = "<!-- what follows is written by scripts/api_page.py -->\n"


def written(page: str) -> str:
    """The page with its reference anew."""
    head, _, _ = page.partition(MARK)
    return head + MARK + reference()


def reference() -> str:
    """Every path, then every kind of row."""
    described = document()
    lines = ["\n## Paths\n", "| request | parameters | what |", "| --- | --- | --- |"]
    for path, methods in described["paths"].items():
        for method, told in methods.items():
            asked = ", ".join(_parameter(each) for each in told.get("parameters", []) if each["in"] == "query") or "-"
            lines.append(f"| `{method.upper()} {path}` | {asked} | {told['summary']} |")
    lines.append(
        "\n## Rows\n\nA type with `?` may be null. Rows may have further fields; what is not named here may change."
    )
    for name, schema in described["components"]["schemas"].items():
        if name != "Error":
            lines += [f"\n### {name}\n", "| field | type | meaning |", "| --- | --- | --- |"]
            lines += [
                f"| `{field}` | {_type(it)} | {it.get('description', '')} |"
                for field, it in schema["properties"].items()
            ]
    return "\n".join(lines) + "\n"


def _parameter(it: dict[str, Any]) -> str:
    bounds = it["schema"]
    told = f" ({bounds['minimum']} to {bounds['maximum']})" if "minimum" in bounds else ""
    return f"`{it['name']}`{told}" + (", needed" if it.get("required") else "")


def _type(it: dict[str, Any]) -> str:
    found = it.get("type", "any")
    return f"{found[0]}?" if isinstance(found, list) else found


if __name__ == "__main__":
    text = written(PAGE.read_text())
    if "--write" in sys.argv:
        PAGE.write_text(text)
    else:
        print(text)
