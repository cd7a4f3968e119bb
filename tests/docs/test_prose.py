"""What the pages name in their prose is there: commands of `maitred`, and files of the repository."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from page_blocks import PAGES, ROOT
from typer.main import get_command

from maitred.cli.main import app

NOT_COMMANDS = {"maitred-broker"}
IN_PROSE = [page for page in PAGES if page.parent.name != "adr"]  # a decision speaks of its day


def code_in_prose(page: Path) -> Iterator[str]:
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text()):
        yield from (child.content for child in token.children or () if child.type == "code_inline")


def unknown(words: list[str]) -> str:
    """The first word that is no command where one has to be; "" where all are."""
    command: Any = get_command(app)
    takes_value = {name for each in command.params if not each.is_flag for name in each.opts}
    while words and hasattr(command, "commands"):
        word = words.pop(0)
        if word in takes_value:
            words[:1] = []
        elif not word.startswith("-") and not word.isupper() and word != "…":
            if word not in command.commands:
                return word
            command = command.commands[word]
    return ""


@pytest.mark.parametrize("page", IN_PROSE, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_files_that_it_names_are_there(page: Path) -> None:
    wrong: list[str] = []
    for code in code_in_prose(page):
        if code.startswith("maitred ") and (word := unknown(re.split(r"[;&|]", code)[0].split()[1:])):
            wrong.append(f"`{code}`: no command {word}")
        if re.fullmatch(r"(tests|docs|deploy|scripts|examples)/[\w./-]+", code) and not list(
            ROOT.glob(code.rstrip("/"))
        ):
            wrong.append(f"`{code}`: no such file")
    assert not wrong, "\n".join(wrong)
