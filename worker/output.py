"""What a worker prints: passed on line by line with its label, and the last of it kept for its death certificate.

    [general 4711] loaded                     while nothing runs, or several requests do
    [general 4711 1a2b3c4d-7] epoch 3         while one does: it is called as `Context.request_id` is

That is looked up when a portion is read, for all of its lines: a moment after they were written.

It is read in portions, one for each time that something is there: neither a worker that prints without end nor a process
that it left behind, with the pipe still open, keeps the agent from its work.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable

import trio

from maitred.worker.started_page import Started

__all__ = ["TAIL_BYTES", "Output"]

TAIL_BYTES = 4096
"""Of a worker's last words, for its certificate."""

READ_BYTES = 65_536
"""One portion: all that a pipe holds, so that one more, after a death, is the rest of what the dead had to say."""

MAX_LINE_BYTES = 65_536
"""What is printed without an end of line is passed on in pieces of this size."""


def _nothing() -> list[Started]:
    return []


class Output:
    """The reading end of a worker's standard output and error.

    Args:
        label: in brackets, before each line.
        running: the requests that run just now (`StartedPage.running`).

    Attributes:
        label: as given; it may change.
        descriptor_of_child: the writing end; closed by `handed_over`.
    """

    def __init__(self, label: str, running: Callable[[], list[Started]] = _nothing) -> None:
        self.label = label
        self._running = running
        self._descriptor, self.descriptor_of_child = os.pipe()
        os.set_blocking(self._descriptor, False)
        self._unfinished = b""
        self._tail = b""

    def handed_over(self) -> None:
        """The worker has its end."""
        os.close(self.descriptor_of_child)

    def close(self) -> None:
        """Free the descriptor; what was read is kept."""
        os.close(self._descriptor)

    async def relay(self) -> None:
        """Pass on what comes, until nobody is left who could print."""
        while True:
            await trio.lowlevel.wait_readable(self._descriptor)
            if not self.read():
                return

    def read(self) -> bool:
        """Pass on one portion of what it printed; False at the end of it."""
        try:
            data = os.read(self._descriptor, READ_BYTES)
        except BlockingIOError:
            return True
        *lines, rest = (self._unfinished + data).split(b"\n")
        if len(rest) > MAX_LINE_BYTES:
            lines.append(rest)
            rest = b""
        self._unfinished = rest
        if lines:
            self._pass_on(b"\n".join(lines))
        return bool(data)

    def finish(self) -> None:
        """It is dead: pass on the rest, with a line that it did not finish."""
        self.read()
        if self._unfinished:
            self._pass_on(self._unfinished)
            self._unfinished = b""

    def last_words(self) -> str:
        """The last lines it printed."""
        return self._tail[:-1].decode(errors="ignore")

    def _pass_on(self, lines: bytes) -> None:
        """Print lines in one go: there may be thousands of them."""
        lines = lines.replace(b"\r\n", b"\n").rstrip(b"\r")
        label = self._label_now()
        text = lines.decode(errors="replace").replace("\n", f"\n{label} ")
        with contextlib.suppress(OSError):  # our own standard error is gone, and no reason to end
            print(label, text, file=sys.stderr, flush=True)
        self._tail = (self._tail + lines[-TAIL_BYTES:] + b"\n")[-TAIL_BYTES - 1 :]

    def _label_now(self) -> str:
        running = self._running()
        if len(running) != 1:
            return self.label
        (request,) = running
        return f"{self.label.removesuffix(']')} {request.client.hex()[:8]}-{request.id}]"
