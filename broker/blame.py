"""Who fills the memory: of all connections, the one that has sent most since its last whole message.

A message is handed on when all of it has come, and until then its memory is libzmq's. So who sends one without end is known
by what its connection has received (`Connection.received`) since a whole message last came by it. That is followed only
while memory is scarce: it takes 5 µs for each connection and look.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from maitred.transport.connections import Connection

__all__ = ["Blame", "Suspect"]

LEAST_BYTES = 64 * 1024
"""Of an unfinished message that somebody may be blamed for. It may be that little: a frame of 34 bytes that comes by itself
keeps a buffer of 8 KiB from being freed."""

LEAST_WAITING_BYTES = 1
"""The same where nobody counts bytes: whoever sends whole messages, or nothing, has none waiting look after look."""

LEAST_LOOKS = 2
"""Between the first sight of a connection and its being blamed: whoever sends whole messages has finished one by then, or
has sent less than who does not."""


class Suspect(NamedTuple):
    """A connection, and the bytes it has received since its last whole message, or since it was first looked at."""

    bytes: int
    connection: Connection[Any]


class _Mark:
    __slots__ = ("connection", "looks", "received")

    def __init__(self, connection: Connection[Any], received: int) -> None:
        self.connection = connection
        self.received = received
        self.looks = 0


class Blame:
    """Follows connections while memory is scarce. Begins anew with `forget`."""

    def __init__(self) -> None:
        self._marks: dict[int, _Mark] = {}
        self._whole: set[int] = set()

    def whole(self, descriptor: int) -> None:
        """A whole message came by the connection of this descriptor."""
        self._whole.add(descriptor)

    def look(self, connections: Iterable[Connection[Any]]) -> list[Suspect]:
        """Ask all of them what they have received; returns who may be blamed, the worst first."""
        marks: dict[int, _Mark] = {}
        suspects: list[Suspect] = []
        for connection in connections:
            received = connection.received()
            mark = self._marks.get(connection.descriptor)
            if mark is None or mark.connection is not connection:
                mark = _Mark(
                    connection, 0 if self._marks else received
                )  # whoever came since has all of it to account for
            elif connection.descriptor in self._whole:
                mark.received, mark.looks = received, 0
            marks[connection.descriptor] = mark
            mark.looks += 1
            least = LEAST_BYTES if connection.counted else LEAST_WAITING_BYTES
            if mark.looks > LEAST_LOOKS and received - mark.received >= least:
                suspects.append(Suspect(received - mark.received, connection))
        self._marks = marks
        self._whole.clear()
        return sorted(suspects, key=lambda one: -one.bytes)

    def forget(self) -> None:
        """Memory is plenty again."""
        self._marks = {}
        self._whole.clear()
