"""Writes the reference in `docs/commands.md` from the commands themselves; `tests/docs` and `tests/cli` use it too.

python scripts/commands.py --write
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from maitred.cli.main import app

PAGE = Path(__file__).parents[1] / "docs" / "commands.md"

MARK = "<!-- the reference below is written by scripts/commands.py; examples by hand, after each heading's text -->\n"
EXAMPLES = "```console\n"
EXAMPLE = re.compile(r"(?:<!-- .* -->\n)?```console\n.*?```", re.S)
KINDS = {"<str>": "TEXT", "<path>": "PATH", "<int>": "N", "INTEGER": "N", "<float>": "X", "FLOAT": "X"}


def all_commands() -> Iterator[tuple[str, Any]]:
    """Each command by what is typed for it, in the order of the program."""
    yield from _below("maitred", get_command(app))


def _below(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    for name in command.list_commands(None):
        each = command.commands[name]
        if hasattr(each, "commands"):
            yield from _below(f"{path} {name}", each)
        else:
            yield f"{path} {name}", each


def reference(path: str, command: Any) -> str:
    """What the page says of one command, its example not included."""
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option" and not each.hidden]
    usage = " ".join([path, *map(_argument, arguments), *(["[OPTIONS]"] if options else [])])
    text = [f"`{usage}`", "", _paragraphs(command.help or command.callback.__doc__ or "")]
    rows = [(_argument(each).strip("[]"), each.help) for each in arguments if each.help]
    rows += [(_option(each), _help(each)) for each in options]
    if rows:
        text += ["", "| | |", "| --- | --- |"]
        text += [f"| `{_cell(name)}` | {_cell(about or '')} |" for name, about in rows]
    return "\n".join(text) + "\n"


def global_options() -> str:
    """What stands before the verb."""
    options = [each for each in get_command(app).params if each.param_type_name == "option" and not each.hidden]
    rows = [f"| `{_cell(_option(each))}` | {_cell(_help(each))} |" for each in options]
    return "\n".join(["| | |", "| --- | --- |", *rows]) + "\n"


def written(page: str) -> str:
    """The page with its reference made anew; each command keeps its example, and the comment before that."""
    head, _, rest = page.partition(MARK)
    kept = dict(_examples(rest))
    parts = [head.rstrip("\n"), "", MARK + "\n## Before the verb\n", global_options()]
    for path, command in all_commands():
        parts += [f"## {path}\n", reference(path, command)]
        if path in kept:
            parts.append(kept[path] + "\n")
    return "\n".join(parts).rstrip("\n") + "\n"


def examples(page: str) -> dict[str, str]:
    """The console of each command that has one."""
    return {path: text.partition(EXAMPLES)[2].removesuffix("```") for path, text in _examples(page)}


def _examples(page: str) -> Iterator[tuple[str, str]]:
    for section in page.split("\n## ")[1:]:
        path, _, text = section.partition("\n")
        if found := EXAMPLE.search(text):
            yield path, found[0]


def _argument(parameter: Any) -> str:
    name = (parameter.metavar or parameter.name.upper()).strip("[]")
    return name if parameter.required else f"[{name}]"


def _option(parameter: Any) -> str:
    """As `--help` shows it. Releases of typer write kinds of values differently; here they are written one way."""
    names, _ = _record(parameter)
    names = re.sub(r"[<\[]([a-z]+(\|[a-z]+)+)[>\]]", r"\1", names)
    for found, wanted in KINDS.items():
        names = names.replace(found, wanted)
    return re.sub(r" RANGE| \[x>=\d+\]|\s*\(x>=\d+\)", "", names)


def _help(parameter: Any) -> str:
    _, about = _record(parameter)
    about = re.sub(r"\s*\[(required|x>=\d+)?(; )?(required)?\]", "", re.sub(r"; x>=\d+\]|, x>=\d+\]", "]", about))
    return re.sub(r"\s*\[default: ([^\]]*)\]", "" if "Default" in about else r" Default: \1.", about)


def _record(parameter: Any) -> tuple[str, str]:
    context = get_command(app).make_context("maitred", ["status"], resilient_parsing=True)
    return parameter.get_help_record(context) or (", ".join(parameter.opts), parameter.help or "")


def _paragraphs(text: str) -> str:
    return "\n".join(line.strip() for line in text.strip().splitlines())


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        raise SystemExit(__doc__)
    PAGE.write_text(written(PAGE.read_text()))
