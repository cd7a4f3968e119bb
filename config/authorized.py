"""The authorisation file: whose keys may do what. Public keys only; TOML, written by `maitred keys new` and by people.

    [keys.alice]
    public = "…"                       # 40 characters of Z85
    role = "client"                    # client | worker | agent | operator
    call = ["general", "neural:train_*"]
    max_in_flight = 100                # and rate (requests in a second), max_queued_bytes

Whoever may write it decides who may do what, so that a file that others may write is refused.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Any, Literal, cast

import msgspec

from maitred.config.hardware import Hardware
from maitred.config.key_file import KEY_CHARS, is_key
from maitred.config.kinds import Bytes
from maitred.config.problems import Problem, ValueRejected, nearest, shown
from maitred.config.toml_text import dotted, inline, key, split_key

__all__ = ["ROLES", "Authorized", "AuthorizedError", "Role", "add_authorized", "read_authorized", "remove_authorized"]

Role = Literal["client", "worker", "agent", "operator"]
ROLES: tuple[Role, ...] = ("client", "worker", "agent", "operator")

_HEAD = re.compile(r"""\s*\[((?:"(?:[^"\\]|\\.)*"|'[^']*'|[^\]"'\[])+)\]""")
"""The first line of a table."""

MAX_FILE_BYTES = 4 * 1024 * 1024
"""Some ten thousand keys."""

MAX_PATTERNS = 256
"""Of one key: each is compared with every request of a kind that is new."""


class AuthorizedError(Exception):
    """The file cannot be gone by: `problems`, all of them, each with its path, the value and what would be accepted."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class Authorized(msgspec.Struct, frozen=True):
    """One key, and what it may do.

    Attributes:
        name: what its owner is called in tables, logs and errors.
        public: the key.
        role: "client" calls; "worker" serves; "agent" serves and answers for its workers; "operator" sees everything and
            changes what the broker does. Each may call what `call` says.
        call: patterns of what it may call: of a pool, or `pool:command`.
        serve: patterns of pools that it may serve.
        max_in_flight: requests unanswered at a time.
        rate: requests in a second, on average.
        max_queued_bytes: of the arguments of its unanswered requests.
    """

    name: str
    public: str
    role: Role
    call: tuple[str, ...] = ()
    serve: tuple[str, ...] = ()
    max_in_flight: int | None = None
    rate: float | None = None
    max_queued_bytes: int | None = None


def read_authorized(path: str | os.PathLike[str]) -> list[Authorized]:
    """Read the file.

    Raises:
        AuthorizedError: it cannot be read, others may write it, or something in it is wrong: everything that is.
    """
    return _Reading(str(path)).run()


def add_authorized(path: Path, entry: Authorized) -> None:
    """Add a key at the end of the file; it is made where it is absent. What is there stays as it is.

    Raises:
        AuthorizedError: the file is wrong as it is, or a key of that name, or that key, is in it.
    """
    there = read_authorized(path) if path.exists() else []
    for other in there:
        if entry.name == other.name or entry.public == other.public:
            what = "name" if entry.name == other.name else "key"
            raise AuthorizedError(
                [Problem(str(path), dotted(("keys", other.name)), "", f"that {what} is there", "another", None)]
            )
    table = {
        name: value
        for name, value in msgspec.structs.asdict(entry).items()
        if name != "name" and value not in (None, ())
    }
    lines = [f"{name} = {inline([*value] if name in ('call', 'serve') else value)}" for name, value in table.items()]
    text = path.read_text() if path.exists() else "# Whose keys may do what. After a change: maitred reload\n"
    _replace(path, text.rstrip("\n") + f"\n\n[keys.{key(entry.name)}]\n" + "\n".join(lines) + "\n", 0o600)


def remove_authorized(path: Path, name: str) -> None:
    """Take a key out of the file. The rest of it stays as it is, comments included; the blank line before it goes.

    Raises:
        AuthorizedError: the file is wrong as it is, or there is no such key, or its table is not written as `[keys.NAME]`.
    """
    there = [entry.name for entry in read_authorized(path)]
    if name not in there:
        near = nearest(name, there)
        raise AuthorizedError(
            [
                Problem(
                    str(path),
                    dotted(("keys", name)),
                    "",
                    "there is no such key",
                    f"one of {', '.join(there) or 'none'}",
                    near,
                )
            ]
        )
    text = path.read_text()
    rest = _without(text, name)
    before = tomllib.loads(text)
    del before["keys"][name]
    try:
        safe = rest is not None and tomllib.loads(rest).get("keys", {}) == before["keys"]
    except tomllib.TOMLDecodeError:
        safe = False
    if rest is None or not safe:
        why = "it cannot be told which lines are its"
        raise AuthorizedError([Problem(str(path), dotted(("keys", name)), "", why, "to be edited by hand", None)])
    _replace(path, rest, stat.S_IMODE(path.stat().st_mode))


def _without(text: str, name: str) -> str | None:
    """The text without the table of a key; None where it is not found. What comes of it is to be checked."""
    lines = text.split("\n")
    heads = [number for number, line in enumerate(lines) if _HEAD.match(line)]
    start = next((number for number in heads if _table(lines[number]) == ("keys", name)), None)
    if start is None:
        return None
    end = next((number for number in heads if number > start), len(lines))
    while end > start + 1 and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#")):
        end -= 1  # comments above the next table, or at the end, speak of something else
    if start and not lines[start - 1].strip():
        start -= 1
    return "\n".join(lines[:start] + lines[end:])


def _table(line: str) -> tuple[str, ...] | None:
    found = _HEAD.match(line)
    return split_key(found[1]) if found else None


def _replace(path: Path, text: str, mode: int) -> None:
    """Write the file whole, or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode), "w") as file:
        file.write(text)
    os.replace(draft, path)


class _Reading:
    """One reading of a file, on after something was wrong."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._problems: list[Problem] = []

    def run(self) -> list[Authorized]:
        table = self._load()
        found: list[Authorized] = []
        for name in sorted(table.keys() - {"keys"}):
            self._add((name,), table[name], "unknown key", "keys", nearest(name, ["keys"]))
        keys = table.get("keys", {})
        if not isinstance(keys, dict):
            self._add(("keys",), keys, "", "tables: [keys.NAME]")
            keys = {}
        for name, entry in cast("dict[str, Any]", keys).items():
            one = self._entry(name, entry)
            if one is not None:
                found.append(one)
        publics: dict[str, str] = {}
        for one in found:
            if one.public in publics:
                self._add(
                    ("keys", one.name, "public"), one.public, f"it is that of {publics[one.public]}", "another key"
                )
            publics[one.public] = one.name
        if self._problems:
            raise AuthorizedError(self._problems)
        return found

    def _load(self) -> dict[str, Any]:
        try:
            with open(self._path, "rb") as file:
                status = os.fstat(file.fileno())
                text = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            self._add((), None, f"cannot be read: {error.strerror}", "a file as `maitred keys new` makes it")
            return {}
        if stat.S_IMODE(status.st_mode) & 0o022:
            self._add((), None, f"others may write it (mode {stat.S_IMODE(status.st_mode):04o})", "chmod go-w")
        elif status.st_uid not in (os.getuid(), 0):
            self._add((), None, f"it belongs to user {status.st_uid}", f"one of user {os.getuid()} or 0")
        elif len(text) > MAX_FILE_BYTES:
            self._add((), None, "it is too long", f"at most {MAX_FILE_BYTES} bytes")
        try:
            return tomllib.loads(text.decode())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            self._add((), None, f"it is no TOML: {error}", "a file as `maitred keys new` makes it")
            return {}

    def _entry(self, name: str, entry: Any) -> Authorized | None:
        path = ("keys", name)
        if not isinstance(entry, dict):
            self._add(path, entry, "", f"a table: [{dotted(path)}]")
            return None
        before = len(self._problems)
        table = dict(cast("dict[str, Any]", entry))
        if not 0 < len(name) <= 128:
            self._add(path, None, "the name is too long, or empty", "1 to 128 characters")
        known = [field for field in Authorized.__struct_fields__ if field != "name"]
        for other in sorted(table.keys() - set(known)):
            self._add(
                (*path, other), table.pop(other), "unknown key", f"one of {', '.join(known)}", nearest(other, known)
            )
        values = {field: self._value(path, field, table.get(field)) for field in known}
        if len(self._problems) > before:
            return None
        return Authorized(name, **values)

    def _value(self, path: tuple[str, ...], field: str, value: Any) -> Any:
        where = (*path, field)
        match field:
            case "public":
                if not isinstance(value, str) or not is_key(value):
                    self._add(where, value, "", f"a public key: {KEY_CHARS} characters of Z85")
            case "role":
                if value not in ROLES:
                    near = nearest(value, list(ROLES)) if isinstance(value, str) else None
                    self._add(where, value, "", f"one of {', '.join(ROLES)}", near)
            case "call" | "serve":
                return self._patterns(where, [] if value is None else value)
            case "max_queued_bytes":
                return None if value is None else self._bytes(where, value)
            case "max_in_flight":
                if value is not None and (type(value) is not int or value < 1):
                    self._add(where, value, "", "a whole number from 1")
            case _:
                if value is not None and (
                    isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9
                ):
                    self._add(where, value, "", "requests in a second: a number above 0")
                return None if value is None else value
        return value

    def _patterns(self, where: tuple[str, ...], value: Any) -> tuple[str, ...]:
        patterns = cast("list[Any]", value) if isinstance(value, list) else [None]
        if len(patterns) > MAX_PATTERNS or any(not isinstance(one, str) or not 0 < len(one) <= 257 for one in patterns):
            form = '["general", "neural:train_*"]' if where[-1] == "call" else '["general"]'
            self._add(where, value, "", f"at most {MAX_PATTERNS} patterns, as {form}")
            return ()
        return tuple(cast("list[str]", patterns))

    def _bytes(self, where: tuple[str, ...], value: Any) -> int | None:
        try:
            return Bytes(1, 2**50).read(value, Hardware())
        except ValueRejected as error:
            self._add(where, value, error.reason, error.accepted, error.nearest)
            return None

    def _add(self, path: tuple[str, ...], value: Any, reason: str, accepted: str, near: str | None = None) -> None:
        text = "" if value is None else shown(value)
        self._problems.append(Problem(self._path, dotted(path), text, reason, accepted, near))
