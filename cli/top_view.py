"""The screen of `maitred top`, drawn from its model: lines that fit. Colour stands only where something is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.cells import cell_len
from rich.text import Text

from maitred.cli.listing import Rows
from maitred.cli.look import broker_line
from maitred.cli.output import counted, megabytes
from maitred.cli.pools import bounds
from maitred.cli.top_model import VIEWS, Model

__all__ = ["draw", "sparkline"]

BLOCKS = "▁▂▃▄▅▆▇█"
PLAIN_BLOCKS = "_.-:=+*#"
"""For terminals whose encoding has no blocks."""

SPARK_CELLS = 12
"""Of one sparkline: the last so many seconds."""

GAP = 2
"""Cells between columns."""

LEAST_CELLS = 8
"""What words may be cut down to; numbers never are: their column is left out instead."""

LEAST_ROWS = 1
"""On the smallest screen, too, the row under the cursor can be seen."""

WRONG, ODD = "bold red", "yellow"
"""Styles: what needs somebody, and what is on its way there."""

KEYS = "q quit  p w r s views  < > sort  i invert  / pool  ↑↓ move  space pause"


@dataclass(frozen=True)
class Column:
    """One column: its heading, what a row shows in it, in which style, and whether numbers stand to the right."""

    heading: str
    show: Callable[[dict[str, Any], Model], str]
    style: Callable[[dict[str, Any]], str] = lambda _: ""
    right: bool = False
    sorts: str = ""


def draw(model: Model, width: int, height: int, endpoint: str, *, blocks: bool = True) -> list[Text]:
    """The whole screen, top to bottom: at most `height` lines, none wider than `width` cells."""
    head = [*_head(model, endpoint), Text()]
    footer = _footer(model)
    room = max(LEAST_ROWS, height - len(head) - 2)
    lines = [*head, *_table(model, width, room, blocks)]
    lines = [*lines[: height - 1], *[Text()] * (height - 1 - len(lines)), footer]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
        line.no_wrap = True
    return lines[-height:] if height < len(lines) else lines


def sparkline(values: Sequence[float], *, blocks: bool = True) -> str:
    """The last values, the largest as the tallest; a row of noughts stays at the bottom."""
    marks = BLOCKS if blocks else PLAIN_BLOCKS
    last = list(values)[-SPARK_CELLS:]
    top = max(last, default=0)
    return "".join(
        marks[min(len(marks) - 1, int(value / top * (len(marks) - 1) + 0.5)) if top else 0] for value in last
    )


def _head(model: Model, endpoint: str) -> Iterable[Text]:
    it = model.snapshot
    if it is None:
        yield Text(f"maitred top: {endpoint}")
    else:
        yield Text(f"{broker_line(it.broker)}", style=ODD if it.broker["draining"] else "")
        yield _totals(it.pools, model)
    if model.trouble:
        yield Text(model.trouble, style=WRONG)
    yield _tabs(model)


def _totals(pools: Rows, model: Model) -> Text:
    rates = [history.rate or 0.0 for name, history in model.histories.items() if any(p["name"] == name for p in pools)]
    full = [row["name"] for row in pools if row["level"] == "full"]
    line = Text(f"{counted(len(pools), 'pool')}, {counted(sum(row['total'] for row in pools), 'worker')}: "
                f"{sum(row['busy'] for row in pools)} busy, {sum(row['queued'] for row in pools)} queued, "
                f"{sum(rates):.0f}/s")  # fmt: skip
    if full:
        line.append(f"; full: {', '.join(full)}", style=WRONG)
    return line


def _tabs(model: Model) -> Text:
    line = Text()
    for key, view in VIEWS.items():
        line.append(f" {view.name} ", style="reverse" if key == model.view else "")
        line.append(" ")
    if model.sort:
        line.append(f" by {model.sort.replace('_', ' ')}{' inverted' if model.reversed else ''}")
    if model.typed is not None:
        line.append(f"  pool: {model.typed}_", style="bold")
    elif model.filter:
        line.append(f"  pool: {model.filter}…")
    if model.paused:
        line.append("  PAUSED", style="bold")
    return line


def _footer(model: Model) -> Text:
    if model.typed is not None:
        return Text("type how the pool begins; Enter keeps it, Escape shows all", style="dim")
    return Text(KEYS, style="dim")


def _table(model: Model, width: int, room: int, blocks: bool) -> Iterable[Text]:
    rows = model.shown()
    if not rows:
        waiting = model.snapshot is None or model.snapshot.view != model.view
        yield Text("…" if waiting else f"no {VIEWS[model.view].name}")
        return
    selected = min(model.selected, len(rows) - 1)
    first = max(0, min(selected - room // 2, len(rows) - room))
    part = rows[first : first + room]
    cells = [[column.show(row, model) for column in COLUMNS[model.view]] for row in part]
    if not blocks:
        cells = [[cell.translate(_NO_BLOCKS) for cell in line] for line in cells]
    fitting = _fitting(COLUMNS[model.view], cells, width)
    yield _line([column.heading for column, _ in fitting], fitting, ["bold"] * len(fitting))
    for number, (row, shown) in enumerate(zip(part, cells, strict=True), first):
        line = _line(shown, fitting, [column.style(row) for column, _ in fitting])
        if number == selected:
            line.stylize("reverse")
        yield line


def _fitting(columns: Sequence[Column], cells: list[list[str]], width: int) -> list[tuple[Column, int]]:
    """The columns from the left that the screen has room for, and how wide each is."""
    found: list[tuple[Column, int]] = []
    left = width
    for number, column in enumerate(columns):
        wide = max(cell_len(column.heading), *(cell_len(line[number]) for line in cells))
        least = wide if column.right or not column.heading else min(wide, max(len(column.heading), LEAST_CELLS))
        if found and left < least:
            break
        found.append((column, max(1, min(wide, left))))
        left -= wide + GAP
    return found


def _line(cells: Sequence[str], fitting: list[tuple[Column, int]], styles: Sequence[str]) -> Text:
    line = Text(no_wrap=True)
    for cell, (column, wide), style in zip(cells, fitting, styles, strict=False):
        text = Text(cell, style=style)
        text.truncate(wide, overflow="ellipsis")
        text.align("right" if column.right else "left", wide)
        line.append_text(text).append(" " * GAP)
    line.rstrip()
    return line


# --- what stands in a cell ---


def _plain(key: str) -> Callable[[dict[str, Any], Model], str]:
    return lambda row, _: "-" if row.get(key) is None else str(row[key])


def _short(key: str) -> Callable[[dict[str, Any], Model], str]:
    return lambda row, _: (row.get(key) or "-")[:8]


def _time(key: str) -> Callable[[dict[str, Any], Model], str]:
    def show(row: dict[str, Any], _: Model) -> str:
        seconds = row.get(key)
        if seconds is None:
            return "-"
        return (
            f"{seconds:.1f}s"
            if seconds < 60
            else f"{seconds / 60:.0f}min"
            if seconds < 7200
            else f"{seconds / 3600:.0f}h"
        )

    return show


def _size(key: str) -> Callable[[dict[str, Any], Model], str]:
    return lambda row, _: megabytes(row[key]) if row.get(key) else "-"


def _rate(row: dict[str, Any], _: Model) -> str:
    return "-" if row["rate"] is None else f"{row['rate']:.1f}" if row["rate"] < 10 else f"{row['rate']:.0f}"


def _spark(of: str) -> Callable[[dict[str, Any], Model], str]:
    def show(row: dict[str, Any], model: Model) -> str:
        history = model.histories.get(row["name"])
        return "" if history is None else sparkline(getattr(history, of)).ljust(SPARK_CELLS)

    return show


def _wanted(row: dict[str, Any], _: Model) -> str:
    return bounds(row).get("bounds", "-")


def _note(row: dict[str, Any], _: Model) -> str:
    return str(row.get("degraded") or row.get("reason") or "")


def _where(test: Callable[[dict[str, Any]], Any], style: str) -> Callable[[dict[str, Any]], str]:
    return lambda row: style if test(row) else ""


def _level(row: dict[str, Any]) -> str:
    return {"full": WRONG, "high": ODD}.get(row["level"], "")


def _note_style(row: dict[str, Any]) -> str:
    return WRONG if row.get("degraded") else ODD


_NO_BLOCKS = str.maketrans(BLOCKS, PLAIN_BLOCKS)
_SUSPECT = _where(lambda row: row["state"] == "suspect", WRONG)

COLUMNS: Final[dict[str, list[Column]]] = {
    "p": [
        Column("POOL", _plain("name"), _where(lambda row: row.get("degraded"), WRONG)),
        Column("LEVEL", _plain("level"), _level),
        Column("IDLE", _plain("available"), right=True),
        Column("BUSY", _plain("busy"), right=True),
        Column("TOTAL", _plain("total"), _where(lambda row: row["total"] < row.get("least", 0), ODD), right=True),
        Column("SIZE", _wanted, right=True),
        Column("QUEUED", _plain("queued"), _level, right=True),
        Column("", _spark("queued")),
        Column("RATE/S", _rate, right=True),
        Column("", _spark("rates")),
        Column("WAIT", _time("oldest_wait"), right=True),
        Column("FAILED", _plain("failed"), right=True),
        Column("REFUSED", _plain("refused"), right=True),
        Column("NOTE", _note, _note_style),
    ],
    "w": [
        Column("ID", _short("id")),
        Column("POOL", _plain("pool")),
        Column("STATE", _plain("state"), _SUSPECT),
        Column("PID", _plain("pid"), right=True),
        Column("RSS", _size("rss"), right=True),
        Column("REQUESTS", _plain("requests"), right=True),
        Column("FOR", _time("request_age"), right=True),
        Column("REQUEST", _plain("request")),
        Column("HOST", _plain("host")),
        Column("NOTE", lambda row, _: str(row.get("note") or ""), lambda _: ODD),
    ],
    "r": [
        Column("ID", _plain("id")),
        Column("POOL", _plain("pool")),
        Column("COMMAND", _plain("command")),
        Column("STATE", _plain("state")),
        Column("AGE", _time("age"), right=True),
        Column("LEFT", _time("left"), right=True),
        Column("PRIORITY", _plain("priority")),
        Column("TRY", _plain("attempt"), _where(lambda row: row.get("attempt", 1) > 1, ODD), right=True),
        Column("CLIENT", _plain("client")),
        Column("WORKER", _short("worker")),
    ],
    "s": [
        Column("ID", _short("id")),
        Column("POOL", _plain("pool")),
        Column("STATE", _plain("state"), _where(lambda row: row.get("state") == "lost", WRONG)),
        Column("OWNER", _short("owner")),
        Column("QUEUED", _plain("queued"), right=True),
        Column("RUNNING", lambda row, _: "yes" if row.get("running") else "no"),
        Column("REQUESTS", _plain("requests"), right=True),
        Column("AGE", _time("age"), right=True),
        Column("LEFT", _time("left"), right=True),
        Column("CLIENT", lambda row, _: str(row.get("principal") or row.get("client") or "-")),
    ],
}
