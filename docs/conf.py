"""How `make docs` builds these pages: Sphinx, MyST for Markdown, Furo for the looks. Nothing is loaded from elsewhere.

The pages are read on a plain Git host as well, so what is there for the site only is kept out of them: the table of
contents is read off the links of the README in each folder, and links to files of the repository become downloads.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from maitred.protocol.version import VERSION

HERE = Path(__file__).parent

project = "maitred"
author = "the maitred authors"
version = release = VERSION

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "README"
exclude_patterns: list[str] = []
templates_path = ["_templates"]
html_additional_pages = {"index": "index.html"}
html_theme = "furo"
html_title = f"maitred {release}"
html_copy_source = False
html_show_sphinx = False

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_use_ivar = True

PAGE = re.compile(r"\]\(([^)#\s]+\.md)(?:#[^)]*)?\)")
OUTSIDE = re.compile(r"\]\(((?:\.\./)+[^)#\s]+)(#[^)]*)?\)")


def contents(source: str, folder: Path) -> str:
    """The hidden table of contents of a README: its links to pages of its folder and those below, by heading."""
    lines: list[str] = []
    seen: set[str] = set()
    for section in re.split(r"^## ", source, flags=re.M):
        pages = [page for page in dict.fromkeys(PAGE.findall(section)) if page not in seen and _below(folder, page)]
        seen.update(pages)
        if pages:
            caption = [] if section.startswith("# ") else [f":caption: {section.partition(chr(10))[0].strip()}"]
            lines += ["```{toctree}", ":hidden:", *caption, "", *pages, "```", ""]
    return "\n".join(lines)


def _below(folder: Path, page: str) -> bool:
    path = (folder / page).resolve()
    return path.is_relative_to(folder) and path.exists() and path != folder / "README.md"


def adapt(_: Any, page: str, source: list[str]) -> None:
    """Give a folder's README its table of contents, and have links to files outside these pages be downloads."""
    folder = (HERE / page).parent

    def as_download(link: re.Match[str]) -> str:
        outside = not (folder / link[1]).resolve().is_relative_to(HERE)
        return f"](path:{link[1]})" if outside else link[0]

    source[0] = OUTSIDE.sub(as_download, source[0])
    if page.rpartition("/")[2] == "README":
        source[0] += "\n\n" + contents(source[0], folder)


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", adapt)
