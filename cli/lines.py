"""The lines of a file, or of a pipe in which the next one may be long in coming: whoever reads them goes on meanwhile."""

from __future__ import annotations

import os
import queue
import stat
import threading
from collections.abc import Iterator
from typing import BinaryIO

__all__ = ["count_lines", "is_regular", "lines_of"]

BLOCK_BYTES = 1 << 20
"""Read at a time."""

READ_AHEAD_LINES = 1024
"""Of a pipe: more than a map has under way, as a rule, and no more in memory."""

PATIENCE_S = 0.02
"""How long a line is waited for until whoever reads is let go on: seen by nobody, and cheap."""


def lines_of(file: BinaryIO) -> Iterator[bytes | None]:
    """The lines without their ends. None: there is none yet, and whoever asks again waits for a moment.

    Raises:
        OSError: it cannot be read.
    """
    if is_regular(file):
        yield from (line.removesuffix(b"\n") for line in file)
        return
    arrived: queue.Queue[bytes | OSError | None] = queue.Queue(READ_AHEAD_LINES)
    # Of the descriptor, not of the file: at the end of the process nobody holds that one's lock, as this never ends.
    threading.Thread(target=_read, args=(file.fileno(), arrived), daemon=True).start()
    while True:
        try:
            line = arrived.get(timeout=PATIENCE_S)
        except queue.Empty:
            yield None
            continue
        if line is None:
            return
        if isinstance(line, OSError):
            raise line
        yield line


def is_regular(file: BinaryIO) -> bool:
    """Whether all of it is there already."""
    return stat.S_ISREG(os.fstat(file.fileno()).st_mode)


def count_lines(file: BinaryIO) -> int:
    """How many there are in a regular file, from where it stands; it stands there afterwards, too."""
    place, lines, last = file.tell(), 0, b"\n"
    while block := file.read(BLOCK_BYTES):
        lines, last = lines + block.count(b"\n"), block[-1:]
    file.seek(place)
    return lines + (last != b"\n")


def _read(descriptor: int, arrived: queue.Queue[bytes | OSError | None]) -> None:
    begun: list[bytes] = []
    try:
        while block := os.read(descriptor, BLOCK_BYTES):
            *whole, rest = block.split(b"\n")
            for line in whole:
                arrived.put(b"".join([*begun, line]))
                begun.clear()
            if rest:
                begun.append(rest)
    except OSError as error:
        arrived.put(error)
    if begun:
        arrived.put(b"".join(begun))
    arrived.put(None)
