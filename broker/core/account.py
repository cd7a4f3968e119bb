"""Whose share of a pool, and whose limits: those of one client process or, where there is a key, of all that have it.

a process without a key     an account of its own, by the id that it drew
processes of one key        one account, by the principal's name: a thousand of them are given the share of one
"""

from __future__ import annotations

from maitred.broker.core.policy import Principal
from maitred.broker.core.settings import ClientSettings

Owner = bytes | str
"""A client id, or the name of a principal that has a key: no text is ever equal to bytes, so neither can be taken for the
other."""

EARLY_S = 1e-6
"""Who comes so much too soon is on time: a wait that was told exactly is a rounded number by when it is over."""


RETRY_SHARE = 0.1
"""Re-runs that a client's requests may cause, as a share of them: what takes workers down must not double the load."""

MAX_RETRIES = 100.0
"""What a client may save up of it, and has to begin with."""


class Meter:
    """Requests accepted in a second: `rate_per_s` on average, one second's worth at once, and one at least.

    It keeps no tokens but the time at which all of them would be back, so that nothing has to be refilled.
    """

    __slots__ = ("full_at",)

    def __init__(self) -> None:
        self.full_at = 0.0

    def wait_s(self, rate_per_s: float, now: float) -> float:
        """How long until the next request may be accepted; 0: now."""
        spare_s = (max(rate_per_s, 1.0) - 1.0) / rate_per_s
        wait = self.full_at - spare_s - now
        return 0.0 if wait <= EARLY_S else wait

    def count(self, rate_per_s: float, now: float) -> None:
        """One was accepted."""
        self.full_at = max(self.full_at, now) + 1.0 / rate_per_s


class Account:
    """What somebody has under way, and what he may have.

    Attributes:
        id: names it; its requests stand in one line of each queue.
        principal: whose it is, where he has a key: his limits count. None: a process without one.
        limited: whether anything bounds it but the pools; where not, nothing has to be looked at.
        weight: requests that it has served in its turn.
        max_in_flight, max_sessions: as `[clients]` gives them; None: no limit.
        in_flight: requests unanswered.
        size: bytes of their arguments.
        sessions: open ones.
        retries: re-runs that it may still cause.
    """

    __slots__ = (
        "id", "in_flight", "limited", "max_in_flight", "max_sessions", "meter", "principal", "retries", "sessions",
        "size", "weight",
    )  # fmt: skip

    def __init__(
        self, owner: Owner, settings: ClientSettings, retries: float, principal: Principal | None = None
    ) -> None:
        self.id = owner
        self.weight = settings.weight
        self.max_in_flight = settings.max_in_flight
        self.max_sessions = settings.max_sessions
        self.in_flight = 0
        self.size = 0
        self.sessions = 0
        self.retries = retries
        self.meter = Meter()
        self.limited = False
        self.principal: Principal | None = None
        self.adopt(principal)

    def adopt(self, principal: Principal | None) -> None:
        """Go by other limits from now on."""
        self.principal = principal
        limits = [self.max_in_flight]
        if principal is not None:
            limits += [principal.max_in_flight, principal.max_queued_bytes]
        rated = principal is not None and principal.rate_per_s is not None
        self.limited = rated or any(limit is not None for limit in limits)
