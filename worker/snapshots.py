"""When the state of a session is to be taken, and what of it is to be sent. Time is an argument.

After a request that went well, at once or when the interval is over; after one that did not, only where the process is
about to end: what such a request left behind is no state that its caller would want back, but it is the one there is.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from typing import Any

from maitred.protocol.body import encode_body

__all__ = ["IDLE_S", "Deferred", "Kept", "TooLarge", "encode_state"]

IDLE_S = 1.0
"""A session that was not used for so long has its state taken, though the interval is not over: nobody waits for it."""

DIGEST_BYTES = 16
"""Of what was sent last, to tell whether anything has changed."""


class TooLarge(ValueError):
    """A state that is not sent."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"a state of {size} bytes; at most {limit} are sent")


class Kept:
    """What is known of one session's state.

    Attributes:
        used_at: when a request last ended.
        taken_at: when the state was last taken.
        due: a request went well since.
        stale: a request ran since, well or not.
        warned: it was too large, or its hook raised, and that was logged.
    """

    __slots__ = ("_digest", "due", "stale", "taken_at", "used_at", "warned")

    def __init__(self) -> None:
        self._digest = b""
        self.used_at = self.taken_at = -math.inf
        self.due = self.stale = self.warned = False

    def used(self, now: float, *, well: bool) -> None:
        """A request has ended."""
        self.used_at = now
        self.stale = True
        self.due = self.due or well

    def due_at(self, interval_s: float) -> float:
        """When its state is to be taken; infinity where nothing new is there."""
        return min(self.taken_at + interval_s, self.used_at + IDLE_S) if self.due else math.inf

    def taken(self, now: float) -> None:
        """Its state is being taken: this is the last one, until it is used again."""
        self.taken_at = now
        self.due = self.stale = False

    def forget(self) -> None:
        """The broker has nothing of it: the next state is sent, even where it is the same."""
        self._digest = b""
        self.due = self.stale = True

    def is_new(self, body: list[Any]) -> bool:
        """Whether it differs from what was sent last, as which it counts from now on."""
        digest = _digest(body)
        if digest == self._digest:
            return False
        self._digest = digest
        return True


class Deferred:
    """The sessions whose state is to be taken later, the next one first. Each stands here once."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, bytes]] = []
        self._sessions: set[bytes] = set()

    def add(self, session: bytes, due: float) -> None:
        """Take its state later; where that was said before, it is looked at then."""
        if session not in self._sessions:
            self._sessions.add(session)
            heapq.heappush(self._heap, (due, session))

    def next_deadline(self) -> float:
        """When to look; infinity where nothing is deferred."""
        return self._heap[0][0] if self._heap else math.inf

    def pop(self, now: float) -> list[bytes]:
        """Those to be looked at now."""
        found: list[bytes] = []
        while self._heap and self._heap[0][0] <= now:
            found.append(heapq.heappop(self._heap)[1])
        self._sessions.difference_update(found)
        return found


def encode_state(value: Any, max_bytes: int) -> list[Any]:
    """Make the body of a snapshot, which leaves a frame for the metadata in SESSION_OPEN.

    Raises:
        EncodeError: it is no value that msgpack can carry.
        TooLarge: it is larger than it may be.
    """
    body = encode_body(value, spare=1)
    size = sum(_size(frame) for frame in body)
    if size > max_bytes:
        raise TooLarge(size, max_bytes)
    return body


def _size(frame: Any) -> int:
    return frame.nbytes if isinstance(frame, memoryview) else len(frame)


def _digest(body: list[Any]) -> bytes:
    found = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for frame in body:
        found.update(_size(frame).to_bytes(8, "little"))  # else bytes could move from one frame to the next unseen
        found.update(frame)
    return found.digest()
