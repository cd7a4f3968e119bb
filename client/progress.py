"""One line on standard error that says how far a script is. It imports nothing that a worker would not import anyway."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Generator, Iterable, Iterator
from typing import Any, TextIO, TypeVar

__all__ = ["Bar", "shown"]

EVERY_S = 0.1
"""Between two paintings: faster is not seen, and costs."""

BAR_CELLS = 30

Value = TypeVar("Value")


class Bar:
    """A line that is painted over and over; where `out` is no terminal, nothing is ever written.

    Args:
        out: where to; None: standard error.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = sys.stderr if out is None else out
        self._shows = self._out.isatty()
        self._next = 0.0
        self._painted = False

    def show(self, share: float | None, words: str) -> None:
        """Paint it, unless it was painted just now.

        Args:
            share: 0 to 1; None: nobody knows, and there is no bar.
            words: what stands behind the bar.
        """
        now = time.monotonic()
        if not self._shows or now < self._next:
            return
        self._next, self._painted = now + EVERY_S, True
        bar = ""
        if share is not None:
            full = round(min(max(share, 0.0), 1.0) * BAR_CELLS)
            bar = f"[{'#' * full}{'.' * (BAR_CELLS - full)}] {min(max(share, 0.0), 1.0):4.0%} "
        line = f"{bar}{words}"[: shutil.get_terminal_size().columns - 1]
        self._out.write(f"\r\x1b[K{line}")
        self._out.flush()

    def clear(self) -> None:
        """Take it away, so that something else can be written; it comes back with the next `show`."""
        self._next = 0.0
        if self._painted:
            self._out.write("\r\x1b[K")
            self._out.flush()
            self._painted = False


def shown(values: Iterable[Value], total: int | None, out: TextIO | None = None) -> Generator[Value, None, None]:
    """Yield these, and show on a terminal how many there were, how fast, and how long the others may take.

    Args:
        values: closed with the result, where it is a generator.
        total: how many there will be; None: nobody knows.
        out: where to show it; None: standard error.
    """
    bar, began, count, failed = Bar(out), time.monotonic(), 0, 0
    together = sys.stdout.isatty()  # whoever prints the values prints them where the bar stands
    source: Iterator[Value] = iter(values)
    try:
        bar.show(0.0 if total else None, "0 done")
        for value in source:
            count += 1
            failed += isinstance(value, Exception)
            if together:
                bar.clear()
            yield value
            bar.show(count / total if total else None, _words(count, failed, total, time.monotonic() - began))
    finally:
        bar.clear()
        close: Any = getattr(source, "close", None)
        if close is not None:
            close()


def _words(count: int, failed: int, total: int | None, took_s: float) -> str:
    rate = count / took_s if took_s > 0 else 0.0
    words = f"{count}{f' of {total}' if total else ''} done, {rate:,.0f}/s"
    if failed:
        words += f", {failed} failed"
    if total and rate:
        words += f", {(total - count) / rate:,.0f} s left"
    return words
