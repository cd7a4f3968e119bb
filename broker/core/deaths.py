"""The last deaths of workers: their certificates, for people and tables, and how often each cause was one."""

from __future__ import annotations

from collections import OrderedDict

from msgspec import Struct

from maitred.broker.core.pool import Pool
from maitred.protocol.messages import Certificate

MAX_DEATHS = 1_000
"""Certificates kept, for all pools: each holds at most some 16 KiB of standard error."""

WANTED = "drain"
"""The cause of a worker that ends because there are to be fewer: nothing was restarted."""


class Death(Struct, frozen=True):
    """Of which pool, what its agent wrote, and when (the core's time); `by`: whose worker it was, where he has a key."""

    pool: str
    certificate: Certificate
    at: float
    by: str = ""


class Deaths:
    """By worker: an agent may tell of a death twice, and may know better than the silence that was told before."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Death] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def newest_first(self) -> list[tuple[bytes, Death]]:
        """All that are kept, by worker."""
        return list(reversed(self._known.items()))

    def add(self, worker: bytes, pool: Pool, certificate: Certificate, now: float, by: str) -> bool:
        """Keep a certificate; False where this death was known already. Nobody tells of another's workers."""
        known = self._known.get(worker)
        if known is not None:
            if known.by == by:
                self._known[worker] = Death(pool.name, certificate, known.at, by)
            return False
        self._known[worker] = Death(pool.name, certificate, now, by)
        if len(self._known) > MAX_DEATHS:
            self._known.popitem(last=False)
        pool.deaths[certificate.cause] = pool.deaths.get(certificate.cause, 0) + 1
        return True
