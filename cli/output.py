"""How the commands print: JSON for machines, tables for people, one line for what went wrong. Exit codes live here."""

from __future__ import annotations

import base64
import datetime
import enum
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, cast

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["Exit", "age", "as_json", "cell", "counted", "fail", "megabytes", "print_json", "print_row", "print_table"]

BYTES = ("rss", "peak_rss", "memory_limit", "memory", "gpu_bytes")
"""Keys of tables whose values are numbers of bytes."""


class Exit(enum.IntEnum):
    """What the exit code says."""

    FINE = 0
    FAILED = 1
    USAGE = 2
    """Usage or configuration: nothing was started or sent."""
    NO_BROKER = 3


def as_json(value: Any, *, indent: int | None = None) -> str:
    """One JSON text. Arrays become lists, bytes base64 text, times ISO 8601; NaN and infinities stay Python's."""
    return json.dumps(value, ensure_ascii=False, indent=indent, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(cast("bytes", value)).decode()
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if hasattr(value, "tolist"):
        return value.tolist()
    return repr(value)


def print_json(value: Any) -> None:
    """To standard output, and out at once: it may be a pipe that somebody reads line by line."""
    print(as_json(value), flush=True)


def print_table(columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]], *, empty: str) -> None:
    """A table for people. `columns` maps headings to keys; numbers stand to the right. What no row has is left out."""
    if not rows:
        print(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    shown = {heading: key for heading, key in columns.items() if any(key in row for row in rows)}
    for heading, key in shown.items():
        numeric = all(isinstance(row.get(key), int | float | None) for row in rows)
        table.add_column(heading, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell(key, row.get(key))) for key in shown.values()))  # as it is: "[b]" may be a name
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(table)


def cell(key: str, value: Any) -> str:
    """One value as people read it, by the name of its column."""
    if value is None:
        return "-"
    if key in BYTES and not isinstance(value, str):
        return megabytes(value)
    if isinstance(value, float):
        return f"{value:.3g} s" if value < 100 else f"{value:,.0f} s"
    return str(value)


def print_row(row: Mapping[str, Any]) -> None:
    """All of one row, a line for each key."""
    for key, value in row.items():
        print(f"{key}: {value if isinstance(value, str | int | float) else as_json(value)}")


def age(seconds: float) -> str:
    """A time for people: "2 min 5 s"."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def counted(number: int, noun: str) -> str:
    """So many of them: "1 request", "2 requests"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def megabytes(size: float) -> str:
    """A number of bytes for people."""
    return f"{size / 1e6:,.0f} MB"


def fail(text: str, code: Exit) -> NoReturn:
    """Say what went wrong and what to do, and end."""
    print(f"maitred: {text}", file=sys.stderr)
    raise typer.Exit(code)
