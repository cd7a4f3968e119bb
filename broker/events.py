"""The broker's events on their way to the log: counted all, written as many as a person can use."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

from maitred.broker.core.effects import Note
from maitred.protocol.events import FLOODS, WARNINGS
from maitred.protocol.own_events import COUNTED_AS, OWN

# structlog imports rich where it is installed, which takes as long as the rest of it (230 ms of processor time, 92 to 132
# without), to show the variables of each frame of a traceback. They hold keys and what applications send: a log must not
# have them.
_rich_is_out = "rich" not in sys.modules
if _rich_is_out:
    sys.modules["rich"] = cast("Any", None)
import structlog  # noqa: E402

if _rich_is_out:
    del sys.modules["rich"]

__all__ = ["EventLog", "make_logger"]

FLOOD_INTERVAL_S = 1.0
"""Of an event whose number a peer decides (FLOODS) one line is written per interval; it says how many were left out."""

MAX_NAMES = 1024
"""Of events whose last line is remembered: applications make up their own. With more, it is begun anew."""

LOGS_OWN = frozenset(
    {"event", "level", "timestamp", "exception", "exc_info", "stack_info", "stack", "self", "left_out"}
)
"""What a line says of itself, and structlog's parameters: a field of an application that is called so gets a `_` behind."""

Logger = Any


def make_logger(level: str, style: str) -> Logger:
    """A structured logger on standard error: "text" for people, "json" for machines."""
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if style == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), pad_event_to=20, exception_formatter=structlog.dev.plain_traceback
        )
    )
    return structlog.wrap_logger(
        structlog.PrintLogger(cast("Any", _Stderr())),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=style == "json"),
            structlog.processors.format_exc_info,
            *([] if style == "json" else [_in_print]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
    )


def _in_print(_logger: Any, _method: str, fields: Any) -> Any:
    """Peers write into some fields: what a terminal would obey is shown, and not sent to it. Lines are structlog's care."""
    for name, value in fields.items():
        if isinstance(value, str) and not value.isprintable():
            fields[name] = "".join(it if it.isprintable() or it in "\n\r\t" else repr(it)[1:-1] for it in value)
    return fields


class _Stderr:
    """Standard error; a line that cannot be written (a full disk, a closed terminal) is lost, and nothing else is."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.flush()


class EventLog:
    """Takes the core's notes.

    Args:
        logger: where lines go.
        feed: what every event goes to, whether a line is written of it or not.
        clock: seconds, of any origin.
    """

    def __init__(
        self,
        logger: Logger,
        feed: Callable[[Note], object] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._logger = logger
        self._feed = feed
        self._clock = clock
        self._written_at: dict[str, float] = {}
        self._left_out: Counter[str] = Counter()

    def __call__(self, note: Note) -> None:
        """Count an event and perhaps write it."""
        self.count(note)
        own = note.event.startswith(OWN)
        if (own or note.event in FLOODS) and not self._may_write(note.event):
            self._left_out[note.event] += 1
            return
        fields = dict(note.fields)
        if own:
            fields = {f"{name}_" if name in LOGS_OWN else name: value for name, value in fields.items()}
        elif "level" in fields:  # the log's own word for how bad a line is
            fields["pressure"] = fields.pop("level")
        if left_out := self._left_out.pop(note.event, 0):
            fields["left_out"] = left_out
        if note.event in WARNINGS:
            self._logger.warning(note.event, **fields)
        else:
            self._logger.info(note.event, **fields)

    def count(self, note: Note) -> None:
        """Count one and hand it on; who calls this has written the line."""
        self.counts[COUNTED_AS if note.event.startswith(OWN) else note.event] += 1
        self._feed(note)

    def _may_write(self, event: str) -> bool:
        now = self._clock()
        if now - self._written_at.get(event, -FLOOD_INTERVAL_S) < FLOOD_INTERVAL_S:
            return False
        if len(self._written_at) >= MAX_NAMES:
            self._written_at.clear()
            self._left_out.clear()
        self._written_at[event] = now
        return True
