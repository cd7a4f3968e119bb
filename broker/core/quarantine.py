"""Requests that kill workers: by what they are (pool, command, arguments), not by who sends them.

A death counts for a request that had begun, where the process ended by itself: `oom`, a signal, an exit. Success clears
it: what is killed from outside while thousands of its kind succeed is not to blame. After `quarantine_after` deaths in a
row the request is refused, until it is released.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from maitred.broker.core.model import Request
from maitred.protocol.messages import Certificate

COUNTED_CAUSES = frozenset({"oom", "signal", "exit"})

MAX_ENTRIES = 1024
"""Fingerprints that are remembered. The one goes whose last death is longest ago, of those that may run if any."""

HASHED_BYTES = 64 * 1024
"""From each end of a frame of the arguments."""

FORGET_S = 3600.0
"""A death counts for so long."""

Shape = tuple[str, str, int]
"""(pool, command, bytes of the arguments): what must agree before anything is hashed."""


class Entry:
    """One fingerprint. In quarantine from `quarantined_at` on, where that is not None."""

    __slots__ = ("certificate", "command", "deaths", "died_at", "fingerprint", "pool", "quarantined_at", "shape")

    def __init__(self, fingerprint: str, shape: Shape, certificate: Certificate, now: float) -> None:
        self.fingerprint = fingerprint
        self.shape = shape
        self.pool, self.command, _ = shape
        self.deaths = 0
        self.certificate = certificate
        self.died_at = now
        self.quarantined_at: float | None = None


class Quarantine:
    """All fingerprints that have killed of late."""

    def __init__(self) -> None:
        self.entries: OrderedDict[str, Entry] = OrderedDict()
        self._shapes: dict[Shape, int] = {}

    def died(self, request: Request, certificate: Certificate, now: float) -> Entry | None:
        """A request had begun on a worker that died. Returns its entry where it is in quarantine from now on."""
        if certificate.cause not in COUNTED_CAUSES:
            return None
        shape = (request.pool.name, request.command, request.size)
        fingerprint = fingerprint_of(shape, request.body)
        entry = self.entries.get(fingerprint)
        if entry is None or now - entry.died_at > FORGET_S:
            entry = self._add(Entry(fingerprint, shape, certificate, now))
        entry.deaths += 1
        entry.certificate = certificate
        entry.died_at = now
        self.entries.move_to_end(fingerprint)
        if entry.quarantined_at is None and entry.deaths >= request.pool.settings.quarantine_after:
            entry.quarantined_at = now
            return entry
        return None

    def find(self, pool: str, command: str, size: int, body: Sequence[Any]) -> Entry | None:
        """The entry of a request, in quarantine or not."""
        shape = (pool, command, size)
        if shape not in self._shapes:
            return None
        return self.entries.get(fingerprint_of(shape, body))

    def succeeded(self, request: Request) -> None:
        """It is not poison."""
        entry = self.find(request.pool.name, request.command, request.size, request.body)
        if entry is not None and entry.quarantined_at is None:
            self._drop(entry)

    def release(self, fingerprint: str) -> list[Entry]:
        """Let it run again, or "all" of them; returns what was released."""
        chosen = [
            entry
            for entry in self.entries.values()
            if entry.quarantined_at is not None and fingerprint in ("all", entry.fingerprint)
        ]
        for entry in chosen:
            self._drop(entry)
        return chosen

    def _add(self, entry: Entry) -> Entry:
        known = self.entries.get(entry.fingerprint)
        if known is not None:
            self._drop(known)
        elif len(self.entries) >= MAX_ENTRIES:
            suspects = (one for one in self.entries.values() if one.quarantined_at is None)
            self._drop(next(suspects, None) or next(iter(self.entries.values())))
        self.entries[entry.fingerprint] = entry
        self._shapes[entry.shape] = self._shapes.get(entry.shape, 0) + 1
        return entry

    def _drop(self, entry: Entry) -> None:
        del self.entries[entry.fingerprint]
        self._shapes[entry.shape] -= 1
        if not self._shapes[entry.shape]:
            del self._shapes[entry.shape]


def fingerprint_of(shape: Shape, body: Sequence[Any]) -> str:
    """Names a request by what it asks for: 128 bits of BLAKE2b (RFC 7693), in hexadecimal."""
    digest = hashlib.blake2b(repr(shape).encode(), digest_size=16)
    for frame in body:
        data = frame if isinstance(frame, bytes) else frame.buffer
        digest.update(len(data).to_bytes(8, "big"))
        if len(data) <= 2 * HASHED_BYTES:
            digest.update(data)
        else:  # all of a large one would hold the broker up for a tenth of a second
            digest.update(data[:HASHED_BYTES])
            digest.update(data[-HASHED_BYTES:])
    return digest.hexdigest()
