"""How a block is run, by its language; what is no code here is checked by what reads it elsewhere."""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Callable
from typing import Any

import yaml
from page_blocks import Block
from page_house import PageHouse
from queries import wrong_with
from typer.main import get_command

from maitred.cli.main import app
from maitred.config import load
from maitred.config.authorized import read_authorized


class Enough(Exception):
    """Raised by what a page's names are given, where its loop would go on for ever."""


class Wrong(AssertionError):
    """A block that does not do what its page says."""


def python(block: Block, house: PageHouse, names: dict[str, Any]) -> None:
    """Run it in the page's namespace. After `# ->` stands what it prints. A file is written; a test is run."""
    if block.file:
        compile(block.text, str(block), "exec", dont_inherit=True)
        (house.shell.directory / block.file).write_text(block.text)
        if block.file.startswith("test_"):
            _succeed(house, block, f"python -m pytest -q -p no:cacheprovider {block.file}")
        return
    if block.goes_on:
        house.go_on(block.text)
        return
    code = compile("\n" * (block.line - 1) + house.real(block.text), str(block.page), "exec", dont_inherit=True)
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(Enough):
        exec(code, names)
    for expected in re.findall(r"#\s*->\s*(.*)$", block.text, re.M):
        if not re.search(loosely(expected), said.getvalue()):
            raise Wrong(f"{block}: it is to print {expected!r}, and prints {said.getvalue()!r}")


def console(block: Block, house: PageHouse, _: dict[str, Any]) -> None:
    """Type each line after a `$`, and compare what follows it with what it prints."""
    for typed in re.split(r"^\$ ", block.text, flags=re.M)[1:]:
        line, _, expected = typed.partition("\n")
        while line.endswith("\\"):
            more, _, expected = expected.partition("\n")
            line = f"{line}\n{more}"
        done = house.type(line)
        if done.returncode != block.exit_code:
            raise Wrong(f"{block}: {line}\nends with {done.returncode}:\n{done.stdout}{done.stderr}")
        if expected.strip() and not re.fullmatch(loosely(expected.strip()), done.stdout.strip(), re.S):
            raise Wrong(f"{block}: {line}\nprints\n{done.stdout}\nwhere the page has\n{expected}")


def loosely(expected: str) -> str:
    """A pattern: numbers and ids are any, `…` is any text, and blanks are as many as there are."""
    parts = re.split(r"(…|\b[0-9a-f]{6,}\b|\d+(?:\.\d+)?|\s+)", expected)
    return "".join(map(_loosely, parts))


def _loosely(part: str) -> str:
    if part == "…":
        return r".*?"
    if part.isspace():
        return r"\s+"
    if re.fullmatch(r"[0-9a-f]{6,}", part):
        return r"[0-9a-f]+"
    return r"\d+(?:\.\d+)?" if part[:1].isdigit() else re.escape(part)


def check_usage(line: str) -> None:
    """That each `maitred` in a line is a command with options that there are; it is not run."""
    words = re.sub(r"'[^']*'|\"[^\"]*\"", "TEXT", line.partition("#")[0])
    for typed in re.findall(r"(?:^|[;&|(])\s*(?:\S*/)?maitred ([^|&;<>)]*)", words):
        try:
            _parse(typed.replace(r"\|", "|").split())
        except Exception as error:
            raise Wrong(f"{line}: {getattr(error, 'message', error)}") from error


def _parse(words: list[str]) -> None:
    command: Any = get_command(app)
    context: Any = None
    while True:
        context = command.make_context(command.name, list(words), parent=context, resilient_parsing=False)
        rest = [*context._protected_args, *context.args] if hasattr(context, "_protected_args") else context.args
        if not hasattr(command, "commands") or not rest:
            return
        words, command = rest[1:], command.commands[rest[0]]


def sh(block: Block, house: PageHouse, _: dict[str, Any]) -> None:
    """It can be read by a shell, and names commands that there are."""
    _succeed(house, block, f"sh -n <<'EOF'\n{block.text}\nEOF")
    for line in block.text.splitlines():
        check_usage(line)


def toml(block: Block, house: PageHouse, _: dict[str, Any]) -> None:
    """The configuration's loader takes it; `# authorized.toml`: that of authorisations."""
    path = house.shell.directory / "block.toml"
    path.write_text(block.text)
    path.chmod(0o600)
    if block.file == "authorized.toml":
        read_authorized(path)
    else:
        load(path, environ={})


def promql(block: Block, *_: Any) -> None:
    """It is a query of metrics that there are."""
    if wrong := wrong_with(block.text.strip()):
        raise Wrong(f"{block}: {wrong}")


def js(block: Block, house: PageHouse, _: dict[str, Any]) -> None:
    """Node.js can read it."""
    path = house.shell.directory / "block.mjs"
    path.write_text(block.text)
    _succeed(house, block, f"node --check {path}")


def _succeed(house: PageHouse, block: Block, line: str) -> None:
    done = house.type(line)
    if done.returncode != 0:
        raise Wrong(f"{block}:\n{done.stdout}{done.stderr}")


def _nothing(*_: Any) -> None: ...


def _never(block: Block, *_: Any) -> None:
    raise Wrong(f"{block}: nobody here can run {block.language}; say why it is not run")


Runner = Callable[[Block, PageHouse, dict[str, Any]], None]

RUNNERS: dict[str, Runner] = {
    "python": python,
    "console": console,
    "sh": sh,
    "toml": toml,
    "json": lambda block, *_: json.loads(block.text),
    "yaml": lambda block, *_: yaml.safe_load(block.text),
    "promql": promql,
    "js": js,
    "text": _nothing,  # a drawing, a formula, a layout of bytes
    "elixir": _never,
    "{eval-rst}": _nothing,  # `make docs` runs it
}
"""By language. One that is not here fails."""


def usage_only(block: Block) -> None:
    """Of a block that is not run: what can be said without running it."""
    if block.language == "console":
        for line in re.findall(r"^\$ (.*)", block.text, re.M):
            check_usage(line)
    if block.language == "python":
        compile(block.text, str(block), "exec", dont_inherit=True)
