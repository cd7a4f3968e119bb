"""A terminal with a user at it: a command in a real pty, and the screen that it paints."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable
from pathlib import Path

import pyte
from user_shell import wait_for


class Terminal:
    """Runs `maitred WORDS…` on a terminal of its own.

    Attributes:
        raw: every byte that it has written.
    """

    def __init__(
        self, environment: dict[str, str], directory: Path, *words: str, columns: int = 120, lines: int = 30
    ) -> None:
        self._end, theirs = pty.openpty()
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()
        self.raw = b""
        self._set_size(columns, lines)
        self.before = termios.tcgetattr(theirs)
        self._theirs = theirs
        self.process = subprocess.Popen(
            [sys.executable, "-m", "maitred.cli", *words],
            env=_without_size(environment) | {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}, cwd=directory,
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def text(self) -> str:
        """What stands on the screen."""
        with self._lock:
            return "\n".join(line.rstrip() for line in self._screen.display)

    def colours_of(self, word: str) -> set[str]:
        """The colours in which a word stands, wherever it does."""
        found: set[str] = set()
        with self._lock:
            for number, line in enumerate(self._screen.display):
                at = line.find(word)
                if at >= 0:
                    found |= {self._screen.buffer[number][at + i].fg for i in range(len(word))}
        return found

    def press(self, keys: str) -> None:
        os.write(self._end, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        with self._lock:
            self._screen.resize(lines, columns)
            self._screen.reset()
        self._set_size(columns, lines)
        os.killpg(self.process.pid, signal.SIGWINCH)

    def shows(self, *words: str, patience_s: float = 20.0) -> str:
        """Wait until all of these stand on the screen; returns it."""
        return self.when(lambda text: all(word in text for word in words), patience_s)

    def when(self, condition: Callable[[str], bool], patience_s: float = 20.0) -> str:
        try:
            return wait_for(lambda: (text := self.text()) and condition(text) and text, patience_s)
        except AssertionError:
            raise AssertionError(f"the screen is:\n{self.text()}") from None

    def ended(self) -> int:
        """Wait for the end; the terminal must be as it was."""
        code = self.process.wait(20)
        assert termios.tcgetattr(self._theirs)[3] == self.before[3], "its modes are not as they were"
        os.close(self._theirs)  # what it wrote last is read, then there is nobody left
        self._reader.join(5)
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for end in (self._end, self._theirs):
            with contextlib.suppress(OSError):
                os.close(end)

    def _set_size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._end, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._end, 65536)
            except OSError:
                return
            if not data:
                return
            with self._lock:
                self.raw += data
                self._stream.feed(data)


def _without_size(environment: dict[str, str]) -> dict[str, str]:
    """The terminal says how large it is, and no variable of whoever runs the tests."""
    return {name: value for name, value in environment.items() if name not in ("COLUMNS", "LINES")}
