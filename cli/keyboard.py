"""Keys of a terminal, one at a time, as they are pressed; the terminal is as it was afterwards."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import tty
from collections.abc import Generator

__all__ = ["Keyboard", "decode"]

READ_BYTES = 256

SEQUENCE_S = 0.03
"""Between the bytes of one key, over a slow line; after a lone Escape it is what its user waits."""

_SEQUENCES = {
    "[A": "up", "[B": "down", "OA": "up", "OB": "down", "[5~": "page up", "[6~": "page down",
    "[H": "home", "[F": "end", "OH": "home", "OF": "end", "[1~": "home", "[4~": "end",
}  # fmt: skip
_CONTROLS = {"\r": "enter", "\n": "enter", "\x7f": "backspace", "\x08": "backspace"}


def decode(text: str) -> list[str]:
    """The keys that a terminal sent: characters as they are, others by name; what has no name is left out."""
    keys: list[str] = []
    while text:
        if text[0] != "\x1b":
            keys.append(_CONTROLS.get(text[0], text[0]))
            text = text[1:]
        elif len(text) > 1 and text[1] in "[O":
            end = 2
            while end < len(text) - 1 and not (text[end].isalpha() or text[end] == "~"):
                end += 1
            if (name := _SEQUENCES.get(text[1 : end + 1])) is not None:
                keys.append(name)
            text = text[end + 1 :]
        else:
            keys.append("escape")
            text = text[1:]
    return keys


class Keyboard:
    """Standard input, where that is a terminal; otherwise nothing is ever pressed.

    Attributes:
        descriptor: what becomes readable; None where there is no terminal.
    """

    def __init__(self) -> None:
        self.descriptor: int | None = sys.stdin.fileno() if sys.stdin.isatty() else None

    @contextlib.contextmanager
    def listening(self) -> Generator[None]:
        """Have keys arrive as they are pressed, unseen."""
        if self.descriptor is None:
            yield
            return
        before = termios.tcgetattr(self.descriptor)
        tty.setcbreak(self.descriptor, termios.TCSANOW)
        try:
            yield
        finally:
            termios.tcsetattr(self.descriptor, termios.TCSADRAIN, before)

    def read(self) -> list[str]:
        """The keys that are there; the terminal's end is a "q"."""
        assert self.descriptor is not None
        try:
            data = os.read(self.descriptor, READ_BYTES)
            if data.endswith((b"\x1b", b"\x1b[", b"\x1bO")) and select.select([self.descriptor], [], [], SEQUENCE_S)[0]:
                data += os.read(self.descriptor, READ_BYTES)
        except OSError:
            return ["q"]
        return decode(data.decode(errors="ignore")) if data else ["q"]
