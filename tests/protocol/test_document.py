"""`docs/protocol.md` says what the code does: its tables are read and compared with messages, errors and limits."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from maitred.protocol import body, errors, frames, limits, messages

DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol.md"
TEXT = DOCUMENT.read_text()

UNIONS = {
    "client → broker": messages.FromClient,
    "broker → client": messages.ToClient,
    "worker or agent → broker": messages.FromWorker,
    "broker → worker or agent": messages.ToWorker,
}
MESSAGES: list[type[Any]] = list(dict.fromkeys(kind for union in UNIONS.values() for kind in union.__args__))
SHAPES = {"command": messages.CommandInfo, "certificate": messages.Certificate, "worker state": messages.WorkerState,
          "position": messages.Position}  # fmt: skip
EXACT_UP_TO = 2**21
"""From here on numbers are written as powers of two."""


def tables_after(heading: str) -> list[list[list[str]]]:
    """The tables below a heading, up to the next heading: rows of cells, the header row included."""
    start = re.search(rf"^#+ {re.escape(heading)}$", TEXT, re.MULTILINE)
    assert start, f"no heading {heading!r} in {DOCUMENT.name}"
    section = re.split(r"^#+ ", TEXT[start.end() :], maxsplit=1, flags=re.MULTILINE)[0]
    found: list[list[list[str]]] = []
    inside = False
    for line in section.splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        if not inside:
            found.append([])
            inside = True
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not all(set(cell) <= set("-: ") for cell in cells):
            found[-1].append(cells)
    return found


def plain(cell: str) -> str:
    return cell.replace("`", "")


# --- messages ---


def number(value: float) -> str:
    exact = int(value)
    if exact == value and exact > EXACT_UP_TO:
        bits = exact.bit_length()
        return f"2^{bits - 1}" if exact == 1 << bits - 1 else f"2^{bits}-1" if exact == (1 << bits) - 1 else str(exact)
    return (f"{value:g}" if value < 1e5 else str(exact)).replace("-", "-")


def bounds(low: float | None, high: float | None) -> str:
    if high is None:
        return "" if low is None else f" ≥ {number(low)}"
    return f" {number(low or 0)}…{number(high)}"


def describe(kind: Any) -> str:
    """A type as the document writes it."""
    match kind:
        case inspect.BytesType(min_length=low, max_length=high) if low == high:
            return f"bin {low}"
        case inspect.StrType(min_length=low, max_length=high):
            return "str" + bounds(low, high)
        case inspect.IntType(ge=low, le=high):
            return "int" + bounds(low, high)
        case inspect.FloatType(ge=low, le=high):
            return "float" + bounds(low, high)
        case inspect.BoolType():
            return "bool"
        case inspect.NoneType():
            return "nil"
        case inspect.UnionType(types=types):
            return " or ".join(describe(one) for one in types)
        case inspect.ListType(item_type=item, max_length=high):
            return f"array 0…{high} of {describe(item)}"
        case inspect.DictType(key_type=key, value_type=value, max_length=high):
            return f"map 0…{high} of {describe(key)} to {describe(value)}"
        case inspect.TupleType():
            return "key"
        case inspect.StructType(cls=cls):
            return next(name for name, shape in SHAPES.items() if shape is cls)
        case _:
            raise AssertionError(f"no words for {kind}")


def default(field: inspect.Field) -> str:
    if field.required:
        return "-"
    value = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    words = {"None": "nil", "False": "false", "True": "true"}
    if isinstance(value, str):
        return f'"{value}"'
    return words.get(repr(value)) or (f"{value:g}" if isinstance(value, int | float) else repr(value))


def fields_of(kind: type[Any]) -> list[list[str]]:
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    return [[field.name, describe(field.type), default(field)] for field in info.fields]


def heading_of(kind: type[Any]) -> str:
    return f"{kind.__struct_config__.tag} {kind.__name__}"


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_every_message_has_its_fields_in_order(kind: type[Any]) -> None:
    found = tables_after(heading_of(kind))
    expected = fields_of(kind)
    written = [[plain(cell) for cell in row[:3]] for row in found[0][1:]] if found else []
    assert written == expected


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_inside_a_message_has_its_fields(name: str) -> None:
    (table,) = tables_after(f"Shape: {name}")
    assert [[plain(cell) for cell in row[:3]] for row in table[1:]] == fields_of(SHAPES[name])


def test_the_overview_has_each_message_with_directions_and_body() -> None:
    (table,) = tables_after("Overview")
    rows = {(row[0], plain(row[1])): (row[2], row[3]) for row in table[1:]}
    assert len(rows) == len(MESSAGES)
    for kind in MESSAGES:
        directions = ", ".join(name for name, union in UNIONS.items() if kind in union.__args__)
        said = rows[(str(kind.__struct_config__.tag), kind.__name__)]
        assert said[0] == ("all four" if directions.count("→") == len(UNIONS) else directions)
        assert (said[1] != "-") == (kind in messages.WITH_BODY)


def test_no_message_is_described_that_does_not_exist() -> None:
    described = re.findall(r"^### (\d+ \w+)$", TEXT, re.MULTILINE)
    assert described == [heading_of(kind) for kind in sorted(MESSAGES, key=lambda kind: kind.__struct_config__.tag)]


def test_the_words_of_a_certificate_are_those_of_the_code() -> None:
    row = next(row for row in tables_after("Shape: certificate")[0] if row[0] == "`cause`")
    assert set(re.findall(r"`(\w+)`", row[3])) == messages.CAUSES


# --- errors ---


def test_every_error_code_is_described_with_its_class() -> None:
    (table,) = tables_after("Codes")
    said = {plain(row[0]): plain(row[1]) for row in table[1:]}
    assert set(said) == {str(code) for code in errors.Code}
    for code, name in said.items():
        assert type(errors.from_wire(code, "", {})).__name__ == name


# --- limits and other figures ---


def test_every_limit_is_listed_with_its_value() -> None:
    (table,) = tables_after("Of the protocol")
    said = {plain(row[0]): plain(row[1]) for row in table[1:]}
    assert said == {name: number_exact(value) for name, value in vars(limits).items() if name.isupper()}


def test_the_figures_of_this_implementation_are_those_of_the_code() -> None:
    tables = tables_after("Of this implementation")
    rows = [row for table in tables for row in table[1:]]
    assert rows
    for row in rows:
        value = figure(plain(row[0]))
        text = "-".join(map(number_exact, value)) if isinstance(value, tuple) else number_exact(value)
        assert plain(row[1]) == text, row[0]


def figure(path: str) -> Any:
    owner, _, name = path.rpartition(".")
    if name.isupper():
        return getattr(importlib.import_module(f"maitred.{owner}"), name)
    module, _, settings = owner.rpartition(".")
    kind: type[Any] = getattr(importlib.import_module(f"maitred.{module}"), settings)
    return next(field.default for field in msgspec.structs.fields(kind) if field.name == name)


def number_exact(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def test_the_magic_and_the_extension_types_are_those_of_the_code() -> None:
    assert f"`{frames.MAGIC.hex(' ')}`" in TEXT
    (table,) = tables_after("Extension types")
    assert [row[0] for row in table[1:]] == [str(body.EXT_BUFFER), str(body.EXT_ARRAY), "-1"]
    assert f"`{body.ARRAY_KINDS}`" in TEXT


WALK = re.compile(r"^([→←]) ([A-Z]+) +(.+)$", re.MULTILINE)
"""A message of the walk-through: who sends it, its name, its bytes."""


def test_the_bytes_of_the_walk_through_are_messages() -> None:
    section = re.split(r"^## ", TEXT, flags=re.MULTILINE)
    (walk,) = [text for text in section if text.startswith("Write a client in an afternoon\n")]
    said: list[Any] = []
    for arrow, name, written in WALK.findall(walk):
        raw = [bytes.fromhex(frame) for frame in written.split(" · ")]
        message, inside = (frames.from_client if arrow == "→" else frames.to_client).decode(raw)
        assert type(message).__name__.upper() == name
        said.append((message, body.decode_body(inside) if inside else None))
    assert [type(message) for message, _ in said[:4]] == [
        messages.Hello, messages.Welcome, messages.Request, messages.Reply
    ]  # fmt: skip
    assert said[2] == (messages.Request(1, "general", "echo"), {"message": "Hello"})
    assert said[3] == (messages.Reply(1), {"message": "Hello"})
    assert said[5][0].code == errors.Code.UNKNOWN_COMMAND
    assert len(said) == 9


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", sorted(DOCUMENT.parent.rglob("*.md")), ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" not in target:
            file, _, anchor = target.partition("#")
            other = page.parent / file if file else page
            assert other.exists(), target
            assert not anchor or anchor in anchors(other), target
