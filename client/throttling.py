"""Restraint on this side of the wire: what a pool would very likely refuse is not even sent. Without I/O.

Refusing costs the broker little, but not nothing; where it refuses most of what comes, the callers' own restraint is what
keeps it free for what it accepts. The rule is that of adaptive throttling ("Site Reliability Engineering", chapter 21,
Handling Overload): with what was asked and what was accepted in the last two minutes, a request is rejected here with
probability

    max(0, (requests - K * accepts) / (requests + 1))

so that about K requests are sent for each one that is accepted: K = 2 lets through as many as would be refused, to hear of
better times soon; a lower K saves more. What is rejected here counts as asked.

A request counts as accepted until it is refused, which takes a round trip: a pool of long requests is no full one. And one
each second is sent in any case: after a time in which all was refused, the rule alone would let nearly nothing through for
the rest of the window, and nobody would learn that there is room.
"""

from __future__ import annotations

import math
import random
import threading
from collections import deque
from collections.abc import Callable

from maitred.client.errors import PoolSaturated

__all__ = ["BUCKET_S", "PROBE_INTERVAL_S", "WINDOW_S", "Throttle", "Throttling"]

WINDOW_S = 120.0
"""What is older than this is forgotten."""

BUCKET_S = 2.0
"""The window moves in steps of this."""


PROBE_INTERVAL_S = 1.0
"""Whoever asks when nothing was sent for so long, has it sent."""

MAX_THROTTLES = 1024
"""Pools, or commands, that a client minds; the one it has known longest is forgotten for the next."""


class _Bucket:
    __slots__ = ("accepts", "began_at", "requests")

    def __init__(self, began_at: float) -> None:
        self.began_at = began_at
        self.requests = 0
        self.accepts = 0


class Throttle:
    """The throttle of one pool.

    Args:
        multiplier: K.
        draw: gives numbers from 0 to 1, 1 not included.
    """

    def __init__(self, multiplier: float, draw: Callable[[], float] = random.random) -> None:
        self._multiplier = multiplier
        self._draw = draw
        self._buckets: deque[_Bucket] = deque()
        self._requests = 0
        self._accepts = 0
        self._sent_at = -math.inf

    def ask(self, now: float, kept: bool = False) -> bool:
        """Whether to send a request; it is counted. A place was `kept` for it: it is sent in any case."""
        bucket = self._bucket(now)
        sent = kept or now >= self._sent_at + PROBE_INTERVAL_S or self._draw() >= self.probability(now)
        if sent:
            self._sent_at = now
        self._add(bucket, requests=1, accepts=int(sent))
        return sent

    def refused(self, now: float) -> None:
        """A request that was sent was refused by the pool."""
        self._add(self._bucket(now), accepts=-1)

    def probability(self, now: float) -> float:
        """Of a request being rejected here, now."""
        self._forget(now)
        return max(0.0, (self._requests - self._multiplier * max(0, self._accepts)) / (self._requests + 1))

    def _bucket(self, now: float) -> _Bucket:
        if not self._buckets or now >= self._buckets[-1].began_at + BUCKET_S:
            self._buckets.append(_Bucket(now))
        return self._buckets[-1]

    def _add(self, bucket: _Bucket, requests: int = 0, accepts: int = 0) -> None:
        bucket.requests += requests
        bucket.accepts += accepts
        self._requests += requests
        self._accepts += accepts

    def _forget(self, now: float) -> None:
        while self._buckets and self._buckets[0].began_at <= now - WINDOW_S:
            old = self._buckets.popleft()
            self._requests -= old.requests
            self._accepts -= old.accepts


class Throttling:
    """The throttles of one client, one for each pool; all its threads share it.

    Where the broker chooses the pool, the command stands for it.

    Args:
        multiplier: K, at least 1.

    Raises:
        ValueError: it is not.
    """

    def __init__(self, multiplier: float) -> None:
        if not isinstance(multiplier, int | float) or isinstance(multiplier, bool) or not multiplier >= 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"throttle is {multiplier!r}; accepted: None, or a number of at least 1")
        self._multiplier = multiplier
        self._lock = threading.Lock()
        self._throttles: dict[tuple[str | None, str], Throttle] = {}

    def ask(self, pool: str | None, command: str, now: float, kept: bool) -> PoolSaturated | None:
        """None: send it. Else that is what to tell the caller instead."""
        with self._lock:
            if self._throttle(pool, command).ask(now, kept):
                return None
        text = f"{_name(pool, command)} refused most of what this client asked lately; this request was not sent"
        return PoolSaturated(text, pool=pool, reason="throttled")

    def refused(self, pool: str | None, command: str, now: float) -> None:
        """One that was sent was refused."""
        with self._lock:
            self._throttle(pool, command).refused(now)

    def _throttle(self, pool: str | None, command: str) -> Throttle:
        key = (pool, command if pool is None else "")
        found = self._throttles.get(key)
        if found is None:
            if len(self._throttles) >= MAX_THROTTLES:
                del self._throttles[next(iter(self._throttles))]
            found = self._throttles[key] = Throttle(self._multiplier)
        return found


def _name(pool: str | None, command: str) -> str:
    return f"the pool for {command!r}" if pool is None else f"pool {pool!r}"
