"""A configuration as it was written: nested tables, and for each key where it was set. Nothing is judged here but form.

read(path)                     a file
given(tables)                  an application's own
apply_environment(...)         MAITRED_POOLS__GENERAL__SIZE=4
apply_overrides(...)           --set pools.general.size=4
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from datetime import date, time
from pathlib import Path
from typing import Any, cast

from maitred.config.problems import ConfigError, Problem, shown
from maitred.config.toml_text import dotted, split_key

__all__ = ["Document", "apply_environment", "apply_overrides", "given", "read", "read_text"]

MAX_FILE_BYTES = 1024 * 1024
"""A configuration is written by hand."""

_VARIABLE = re.compile(r"MAITRED_[^_].*?__.+", re.DOTALL)
_LINE = re.compile(r"at line (\d+)")

Path_ = tuple[str, ...]


class Document:
    """Tables, and where their keys were set.

    Attributes:
        tables: as `tomllib` gives them.
        name: the file.
        origins: where a key was set; what is in a table that was set as a whole has none of its own.
        overridden: what the environment and options set, in order.
    """

    def __init__(self, name: str, tables: dict[str, Any], lines: Mapping[Path_, int]) -> None:
        self.tables = tables
        self.name = name
        self.origins: dict[Path_, str] = {path: f"{name}:{line}" for path, line in lines.items()}
        self.overridden: list[Path_] = []

    def origin(self, path: Sequence[str]) -> str:
        """Where a key was set, or the nearest table around it, or else something in it."""
        around = (self.origins.get(tuple(path[:length])) for length in range(len(path), 0, -1))
        inside = (where for at, where in self.origins.items() if at[: len(path)] == tuple(path))
        return next((where for where in (*around, *inside) if where is not None), self.name)

    def table(self, *path: str) -> dict[str, Any]:
        """A table, empty where there is none or something else."""
        found = self.tables
        for name in path:
            inner = found.get(name)
            found = cast("dict[str, Any]", inner) if isinstance(inner, dict) else {}
        return found

    def adopt(self, other: Document, name: str) -> None:
        """Take over a top-level table of another document, where it was set included."""
        self.tables[name] = other.tables[name]
        self.origins |= {at: where for at, where in other.origins.items() if at[0] == name}

    def set(self, path: Path_, value: Any, origin: str) -> Problem | None:
        """Set a key, making the tables around it; what was below it is gone."""
        table = self.tables
        for depth, name in enumerate(path[:-1], 1):
            inner = table.setdefault(name, {})
            if not isinstance(inner, dict):
                text = (
                    f"{dotted(path[:depth])} is set to {shown(inner)} at {self.origin(path[:depth])}, which has no keys"
                )
                return Problem(origin, dotted(path), shown(value), reason=text)
            table = cast("dict[str, Any]", inner)
        if path[0] == "routing" and len(path) == 2 and path[1] not in table:
            rest = dict(table)  # behind "*" it would never be reached
            table.clear()
            table[path[1]] = value
            table.update(rest)
        else:
            table[path[-1]] = value
        for inner in [at for at in self.origins if at[: len(path)] == path]:
            del self.origins[inner]
        self.origins[path] = origin
        self.overridden.append(path)
        return None


def read(path: Path) -> Document:
    """Read a file.

    Raises:
        ConfigError: it cannot be read, or is no TOML.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        raise ConfigError([Problem(str(path), reason=reason)]) from None
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError([Problem(str(path), accepted=f"a file of at most {MAX_FILE_BYTES:,} bytes")])
    try:
        return read_text(content.decode(), str(path))
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError([Problem(f"{path}:{line}", accepted="UTF-8 text, as TOML is")]) from None


def read_text(text: str, name: str) -> Document:
    """Read TOML text; `name` is what messages call it.

    Raises:
        ConfigError: it is no TOML.
    """
    try:
        return Document(name, tomllib.loads(text), _lines(text))
    except RecursionError:
        raise ConfigError([Problem(name, reason="no TOML: nested too deeply")]) from None
    except ValueError as error:  # TOMLDecodeError, or a number of thousands of digits
        found = _LINE.search(str(error))
        where = f"{name}:{found[1]}" if found else name
        raise ConfigError([Problem(where, reason=f"no TOML: {error}")]) from None


def given(tables: Mapping[str, Any]) -> Document:
    """The same as dictionaries, of which a copy is taken. Paths are as good as their names."""
    return Document("the given configuration", _copied(tables), {})


def apply_overrides(document: Document, overrides: Sequence[str]) -> list[Problem]:
    """Set what `--set KEY=VALUE` options say, in their order; returns what is malformed."""
    problems: list[Problem] = []
    for override in overrides:
        name, equals, text = _split_override(override)
        path = split_key(name) if equals else None
        if path is None or len(path) < 2:
            accepted = "KEY=VALUE, as pools.general.size=4 (patterns in quotes: 'routing.\"train_*\"=neural')"
            problems.append(Problem("--set", value=shown(override), accepted=accepted))
        else:
            problem = document.set(path, parse_value(text), "--set")
            problems += [problem] if problem else []
    return problems


def apply_environment(document: Document, environ: Mapping[str, str]) -> list[Problem]:
    """Set what variables such as MAITRED_POOLS__GENERAL__SIZE say; returns what is malformed.

    Upper and lower case are the same, and so are `-`, `.` and `_`, as variables' names have only the latter. Variables
    without `__` are none of ours.
    """
    problems: list[Problem] = []
    for variable in sorted(environ):
        if _VARIABLE.fullmatch(variable):
            path = _path_of(document, variable.removeprefix("MAITRED_").split("__"))
            problem = document.set(path, parse_value(environ[variable]), f"environment {variable}")
            problems += [problem] if problem else []
    return problems


def parse_value(text: str) -> Any:
    """A value as TOML, or as the string it is: `4`, `true`, `{ min = 1, max = 2 }`, `30s`."""
    try:
        found = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    value = found.get("value")
    return text if len(found) > 1 or isinstance(value, date | time) else value


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _copied(inner) for name, inner in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_copied(inner) for inner in cast("Sequence[Any]", value)]
    return str(value) if isinstance(value, Path) else value


def _split_override(text: str) -> tuple[str, str, str]:
    """Split at the first `=` outside of quotes."""
    found = re.match(r"""((?:"(?:[^"\\]|\\.)*"|'[^']*'|[^"'=])*)=""", text)
    return (found[1], "=", text[found.end() :]) if found else (text, "", "")


def _path_of(document: Document, segments: list[str]) -> Path_:
    """The key that a variable means: an existing one where there is a match, else in lower case."""
    path: list[str] = []
    while segments:
        known = {_plain(name): name for name in document.table(*path)}
        used, name = 1, segments[0].lower()
        for count in range(len(segments), 0, -1):  # names may have `__` themselves: the longest match
            match = known.get(_plain("__".join(segments[:count])))
            if match is not None:
                used, name = count, match
                break
        path.append(name)
        segments = segments[used:]
    return tuple(path)


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").replace(".", "_")


def _lines(text: str) -> dict[Path_, int]:
    """In which line each key is set: a guess for messages, wrong where a string of several lines looks like keys."""
    lines: dict[Path_, int] = {}
    table: Path_ = ()
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if stripped.startswith("["):
            found = re.match(r"""\[\[?((?:"(?:[^"\\]|\\.)*"|'[^']*'|[^"'\]])*)\]""", stripped)
            table = (split_key(found[1]) if found else None) or table
            lines.setdefault(table, number)
        elif not stripped.startswith("#"):
            name, equals, _ = _split_override(stripped)
            path = split_key(name) if equals else None
            if path is not None:
                lines.setdefault((*table, *path), number)
    return lines
