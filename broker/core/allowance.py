"""Whether an account has room for one more request, by its own limits; what the pool has is `admission`'s."""

from __future__ import annotations

import math

from msgspec import Struct

from maitred.broker.core.account import Account
from maitred.broker.core.pool import Pool
from maitred.protocol import limits


class Excess(Struct, frozen=True):
    """A limit that is reached: which, the sentence, the limit itself, and when there is room (None: nobody knows)."""

    reason: str
    text: str
    capacity: float
    retry_after: float | None


def excess(account: Account, who: str, size: int, pool: Pool, now: float) -> Excess | None:
    """The first limit that a request of `size` bytes would be over; None: there is room."""
    principal = account.principal
    over = _in_flight(account, account.max_in_flight, "client_limit", who, pool, now)
    if over is not None or principal is None:
        return over
    return (
        _in_flight(account, principal.max_in_flight, "principal_limit", who, pool, now)
        or _rate(account, principal.rate_per_s, who, now)
        or _bytes(account, principal.max_queued_bytes, who, size, pool, now)
    )


def too_soon(account: Account, who: str, now: float) -> Excess | None:
    """Whether what the broker itself is asked comes too soon; where it does not, it counts as a request does."""
    rate_per_s = None if account.principal is None else account.principal.rate_per_s
    over = _rate(account, rate_per_s, who, now)
    if over is None and rate_per_s is not None:
        account.meter.count(rate_per_s, now)
    return over


def _in_flight(account: Account, limit: int | None, reason: str, who: str, pool: Pool, now: float) -> Excess | None:
    if limit is None or account.in_flight < limit:
        return None
    text = f"{who} has {account.in_flight} requests unanswered, its limit is {limit}"
    over = account.in_flight - limit + 1
    return Excess(reason, text, limit, _wait(account, over, pool, now))


def _rate(account: Account, rate_per_s: float | None, who: str, now: float) -> Excess | None:
    wait = 0.0 if rate_per_s is None else account.meter.wait_s(rate_per_s, now)
    if not wait or rate_per_s is None:
        return None
    text = f"{who} has sent more than the {rate_per_s:g} requests in a second that it may send"
    return Excess("rate", text, rate_per_s, wait)


def _bytes(account: Account, limit: int | None, who: str, size: int, pool: Pool, now: float) -> Excess | None:
    if limit is None or account.size + size <= limit:
        return None
    text = f"{who} has {account.size} bytes of arguments unanswered, and {size} more are over its limit of {limit}"
    each = account.size / max(account.in_flight, 1)
    over = math.ceil((account.size + size - limit) / each) if each else 0
    return Excess("principal_bytes", text, limit, _wait(account, over, pool, now))


def _wait(account: Account, answers: int, pool: Pool, now: float) -> float | None:
    """Until so many of its own are answered, if it has its share of this pool; None where nothing of it is here."""
    interval = pool.pace.interval_s(now)
    if interval is None or not pool.load or not account.in_flight:
        return None
    return min(answers * pool.load * interval[1] / account.in_flight, limits.MAX_RETRY_AFTER_S)
