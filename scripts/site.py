"""Builds the documentation into a folder, and looks at what came of it: warnings are errors, and so is a page that loads
anything from elsewhere, as it has to be readable without a network.

python scripts/site.py build/docs
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"

LOADED = re.compile(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"(https?:)?//|<link\b[^>]*\bhref=\"(https?:)?//", re.I)
IMPORTED = re.compile(r"@import|url\(\s*[\"']?(https?:)?//", re.I)


def build(into: Path) -> int:
    """Runs Sphinx; its exit code."""
    options = ["--fail-on-warning", "--keep-going", "--quiet", "--jobs", "auto"]
    return subprocess.run([sys.executable, "-m", "sphinx", *options, str(DOCS), str(into)], check=False).returncode


def loads_from_elsewhere(site: Path) -> list[str]:
    """Pages and style sheets that a browser would fetch something for from another host."""
    pages = [page for page in site.rglob("*.html") if LOADED.search(page.read_text())]
    sheets = [sheet for sheet in site.rglob("*.css") if IMPORTED.search(sheet.read_text())]
    return [str(each) for each in (*pages, *sheets)]


def main(arguments: list[str]) -> int:
    """0 where the documentation is as it has to be."""
    if len(arguments) != 1:
        raise SystemExit(__doc__)
    site = Path(arguments[0])
    if code := build(site):
        return code
    if found := loads_from_elsewhere(site):
        print("loads something from elsewhere:", *found, sep="\n  ", file=sys.stderr)
        return 1
    print(f"{len(list(site.rglob('*.html')))} pages: {site / 'index.html'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
