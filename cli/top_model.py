"""What `maitred top` shows, without a screen, a keyboard or a broker: rows, their order, and what each key changes.

take(snapshot) · fail(text)        what the broker said, or why it said nothing
press(key) → whether to leave      what the user wants
shown() → rows                     filtered and in order; `top_view` draws them
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from maitred.cli.listing import Rows

__all__ = ["VIEWS", "History", "Model", "Snapshot", "View"]

SAMPLES = 60
"""Of a sparkline: a minute at one a second, as many as fit on a wide screen."""

PAGE_ROWS = 10
"""What Page Up and Page Down move by."""

MAX_FILTER_CHARS = 128
"""As long as a pool's name may be."""


@dataclass(frozen=True)
class View:
    """One of the tables.

    Attributes:
        name: of the table that the broker is asked for.
        pool: the key of a row that holds its pool.
        sorts: keys of rows by which it can be ordered, numbers largest first; the first is the broker's own order.
    """

    name: str
    pool: str
    sorts: tuple[str, ...]


VIEWS: Final[dict[str, View]] = {
    "p": View("pools", "name", ("", "name", "queued", "busy", "rate", "failed", "refused", "oldest_wait")),
    "w": View("workers", "pool", ("", "pool", "state", "rss", "requests", "request_age", "host")),
    "r": View("requests", "pool", ("", "pool", "command", "state", "age", "left", "client")),
    "s": View("sessions", "pool", ("", "pool", "age", "left", "requests", "queued")),
}
"""By the key that shows it."""


@dataclass(frozen=True)
class Snapshot:
    """What the broker said at one time (monotonic seconds): of itself, of its pools, and the rows of one view."""

    at: float
    view: str
    broker: dict[str, Any]
    pools: Rows
    rows: Rows


@dataclass
class History:
    """One pool in the last minute: what was queued, and requests answered in a second."""

    queued: deque[float] = field(default_factory=lambda: deque(maxlen=SAMPLES))
    rates: deque[float] = field(default_factory=lambda: deque(maxlen=SAMPLES))
    answered: int = 0
    at: float | None = None

    def take(self, row: dict[str, Any], at: float) -> None:
        """A row of the table of pools."""
        answered = row.get("completed", 0) + row.get("failed", 0)
        self.queued.append(row["queued"])
        if self.at is not None and at > self.at and answered >= self.answered:  # fewer: another broker counts anew
            self.rates.append((answered - self.answered) / (at - self.at))
        self.answered, self.at = answered, at

    @property
    def rate(self) -> float | None:
        """Requests answered in the last second; None: not known yet."""
        return self.rates[-1] if self.rates else None


class Model:
    """See above.

    Attributes:
        view: the key of the one that is shown.
        snapshot: the last one; None before there is any.
        trouble: why there is no newer one; empty where there is.
        paused: whether the screen stands still.
        typed: the filter while it is being typed; None otherwise.
        filter: how names of pools begin that are shown.
        selected: the row under the cursor, counted from 0.
        histories: of each pool, by name.
    """

    def __init__(self) -> None:
        self.view = "p"
        self.snapshot: Snapshot | None = None
        self.trouble = ""
        self.paused = False
        self.typed: str | None = None
        self.filter = ""
        self.selected = 0
        self.histories: dict[str, History] = {}
        self._sort = dict.fromkeys(VIEWS, 0)
        self._reversed = dict.fromkeys(VIEWS, False)

    def take(self, snapshot: Snapshot) -> None:
        """What the broker said. While paused it is not shown, and histories go on."""
        self.trouble = ""
        for row in snapshot.pools:
            self.histories.setdefault(row["name"], History()).take(row, snapshot.at)
        if not self.paused or self.snapshot is None or self.snapshot.view != self.view == snapshot.view:
            self.snapshot = snapshot

    def fail(self, text: str) -> None:
        """Why the broker says nothing."""
        self.trouble = text

    @property
    def sort(self) -> str:
        """The key of a row that it is ordered by; empty: as the broker gives them."""
        return VIEWS[self.view].sorts[self._sort[self.view]]

    @property
    def reversed(self) -> bool:
        """Whether that order is turned round."""
        return self._reversed[self.view]

    def shown(self) -> Rows:
        """The rows of the view, filtered and in order; none while they are still to come."""
        it = self.snapshot
        if it is None or it.view != self.view:
            return []
        view, wanted = VIEWS[self.view], self.filter if self.typed is None else self.typed
        rows = [row for row in it.rows if str(row.get(view.pool) or "").startswith(wanted)]
        if self.view == "p":
            rows = [row | {"rate": self._rate(row)} for row in rows]
        if self.sort:
            rows.sort(key=_order_by(self.sort))
        return rows[::-1] if self.reversed else rows

    def press(self, key: str) -> bool:
        """One key: a character, or "up", "down", "page up", "page down", "home", "end", "enter", "escape", "backspace".

        Returns whether the user wants to leave.
        """
        if self.typed is not None:
            self._type(key)
            return False
        if key in ("q", "Q"):
            return True
        if key in VIEWS and key != self.view:
            self.view, self.selected = key, 0
        else:
            self._obey(key)
        return False

    def _rate(self, row: dict[str, Any]) -> float | None:
        history = self.histories.get(row["name"])
        return None if history is None else history.rate

    def _obey(self, key: str) -> None:
        last = max(0, len(self.shown()) - 1)
        moves = {"up": -1, "down": 1, "page up": -PAGE_ROWS, "page down": PAGE_ROWS, "home": -last, "end": last}
        if key in moves:
            self.selected = min(max(min(self.selected, last) + moves[key], 0), last)
        elif key in (">", "<"):
            step = 1 if key == ">" else -1
            self._sort[self.view] = (self._sort[self.view] + step) % len(VIEWS[self.view].sorts)
        elif key == "i":
            self._reversed[self.view] = not self.reversed
        elif key == "/":
            self.typed = self.filter
        elif key == "escape":
            self.filter = ""
        elif key == " ":
            self.paused = not self.paused

    def _type(self, key: str) -> None:
        assert self.typed is not None
        self.selected = 0
        if key == "enter":
            self.filter, self.typed = self.typed, None
        elif key == "escape":
            self.filter, self.typed = "", None
        elif key == "backspace":
            self.typed = self.typed[:-1]
        elif len(key) == 1 and key.isprintable() and len(self.typed) < MAX_FILTER_CHARS:
            self.typed += key


def _order_by(key: str) -> Callable[[dict[str, Any]], tuple[int, float, str]]:
    """Words from A to Z, numbers from the largest down, and last what has none."""

    def place(row: dict[str, Any]) -> tuple[int, float, str]:
        value = row.get(key)
        if value is None:
            return 2, 0.0, ""
        return (0, -float(value), "") if isinstance(value, int | float) else (1, 0.0, str(value))

    return place
