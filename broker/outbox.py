"""Messages for peers that do not read fast enough just now: a bounded line for each, retried by the clock.

POLLOUT of a ROUTER only says that *some* peer is writable, so a full peer is tried again by the clock: soon where the
last try got something out, less and less often where it did not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from maitred.broker.core.effects import Forward, Peer, Send

FIRST_RETRY_S = 0.001
"""Until the first try, and after one that got something out. Each takes at most a high-water mark of 64 messages: so that
a reader that keeps up, but was sent a burst, gets 64,000 a second."""

LONGEST_RETRY_S = 0.05
"""The pause doubles up to here while nobody reads: a stopped client costs twenty tries a second."""

MAX_BYTES = 64 * 1024 * 1024
"""Bytes that wait for one peer, besides the socket's own high-water mark and the kernel's buffers. A single message larger
than this still waits if it is the only one."""

MAX_BYTES_OF_ALL = 512 * 1024 * 1024
"""Bytes that wait for all peers together. Beyond it the peer with the longest line is given up, whoever's message it was: a
crowd of slow readers, each within its own bound, must not fill the broker's memory."""

MESSAGE_BYTES = 1024
"""What a message counts beside its body: its objects here and its header on the wire. So at most 65,536 wait for one peer,
more than a full queue's refusals to a client that sent everything at once."""


class Outbox:
    """Lines of waiting messages, one for each full peer.

    Attributes:
        lines: by peer, oldest first, each with what it counts; to be read only.
    """

    def __init__(self) -> None:
        self.lines: dict[Peer, deque[tuple[Send | Forward, int]]] = {}
        self._bytes: dict[Peer, int] = {}
        self._bytes_of_all = 0

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def bytes(self) -> int:
        """What all lines count together."""
        return self._bytes_of_all

    def __contains__(self, peer: Peer) -> bool:
        return peer in self.lines

    def add(self, send: Send | Forward) -> Peer | None:
        """Put a message at the end of its peer's line.

        Returns:
            Who has to be given up (`drop`): its peer, as the line is full and nothing was added, or the one with the
            longest line, as all lines together are too long. None: nobody.
        """
        size = MESSAGE_BYTES + sum(len(frame) for frame in (send.body if isinstance(send, Send) else send.frames))
        line = self.lines.setdefault(send.peer, deque())
        waiting = self._bytes.get(send.peer, 0)
        if line and waiting + size > MAX_BYTES:
            return send.peer
        line.append((send, size))
        self._bytes[send.peer] = waiting + size
        self._bytes_of_all += size
        if self._bytes_of_all > MAX_BYTES_OF_ALL and len(self.lines) > 1:
            return max(self._bytes, key=self._bytes.__getitem__)
        return None

    def drop(self, peer: Peer) -> list[Send | Forward]:
        """Forget a peer; returns what waited for it."""
        self._bytes_of_all -= self._bytes.pop(peer, 0)
        return [send for send, _ in self.lines.pop(peer, ())]

    def retry(self, attempt: Callable[[Send | Forward], bool]) -> bool:
        """Try the first of each line, and on while it goes; `attempt` returns False where the peer is still full.

        Returns:
            Whether anything left.
        """
        progress = False
        for peer in list(self.lines):
            for send in self._heads(peer):
                if not attempt(send):
                    break
                progress = True
                self._shift(peer)
        return progress

    def _heads(self, peer: Peer) -> Iterator[Send | Forward]:
        while line := self.lines.get(peer):
            yield line[0][0]

    def _shift(self, peer: Peer) -> None:
        line = self.lines.get(peer)
        if line is None:
            return
        _, size = line.popleft()
        self._bytes[peer] -= size
        self._bytes_of_all -= size
        if not line:
            del self.lines[peer], self._bytes[peer]
