"""Messages for peers that do not read fast enough just now: a bounded line for each, retried by the clock.

POLLOUT of a ROUTER only says that *some* peer is writable, so a full peer is tried again every `RETRY_S`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from maitred.broker.core.effects import Peer, Send

RETRY_S = 0.01
"""Seconds between tries: a reader that catches up waits half of it on average."""

MAX_MESSAGES = 1024
"""Messages that wait for one peer, besides the socket's own high-water mark and the kernel's buffers."""

MAX_BYTES = 64 * 1024 * 1024
"""Bytes that wait for one peer. A single message larger than this still waits if it is the only one."""


class Outbox:
    """Lines of waiting messages, one for each full peer."""

    def __init__(self) -> None:
        self._lines: dict[Peer, deque[tuple[Send, int]]] = {}
        self._bytes: dict[Peer, int] = {}

    def __len__(self) -> int:
        return len(self._lines)

    def __contains__(self, peer: Peer) -> bool:
        return peer in self._lines

    def add(self, send: Send) -> bool:
        """Put a message at the end of its peer's line; False when the line is full, and nothing was added."""
        size = sum(len(frame) for frame in send.body)
        line = self._lines.setdefault(send.peer, deque())
        waiting = self._bytes.get(send.peer, 0)
        if line and (len(line) >= MAX_MESSAGES or waiting + size > MAX_BYTES):
            return False
        line.append((send, size))
        self._bytes[send.peer] = waiting + size
        return True

    def drop(self, peer: Peer) -> list[Send]:
        """Forget a peer; returns what waited for it."""
        self._bytes.pop(peer, None)
        return [send for send, _ in self._lines.pop(peer, ())]

    def retry(self, attempt: Callable[[Send], bool]) -> None:
        """Try the first of each line, and on while it goes; `attempt` returns False where the peer is still full."""
        for peer in list(self._lines):
            for send in self._heads(peer):
                if not attempt(send):
                    break
                self._shift(peer)

    def _heads(self, peer: Peer) -> Iterator[Send]:
        while line := self._lines.get(peer):
            yield line[0][0]

    def _shift(self, peer: Peer) -> None:
        line = self._lines.get(peer)
        if line is None:
            return
        _, size = line.popleft()
        self._bytes[peer] -= size
        if not line:
            del self._lines[peer], self._bytes[peer]
