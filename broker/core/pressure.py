"""How full a pool is, in three levels with hysteresis, for callers that would rather slow down than be refused.

    ok ──≥ 70 %──▶ high ──refused, or ≥ 100 %──▶ full
    ok ◀──< 50 %── high ◀─────── < 90 % ──────── full       down one step, and not before HOLD_S after the last change

Of the bound that is nearest: requests, bytes, or the expected wait against the pool's time-out.
"""

from __future__ import annotations

from maitred.protocol.messages import LEVEL_FULL, LEVEL_HIGH, LEVEL_OK

HIGH_FROM = 0.7
HIGH_UNTIL = 0.5
FULL_FROM = 1.0
FULL_UNTIL = 0.9

HOLD_S = 0.5
"""A level stays for so long before it falls: a pool of few places would else change with each request."""


def level_of(before: int, fill: float, refused: bool, since_s: float) -> int:
    """The level now.

    Args:
        before: the level until now.
        fill: of the nearest bound; 1.0 is at it.
        refused: whether a request was refused just now for want of room.
        since_s: seconds since the level changed.
    """
    if refused or fill >= FULL_FROM:
        return LEVEL_FULL
    if before == LEVEL_OK:
        return LEVEL_HIGH if fill >= HIGH_FROM else LEVEL_OK
    if since_s < HOLD_S:
        return before
    if before == LEVEL_FULL:
        return LEVEL_HIGH if fill < FULL_UNTIL else LEVEL_FULL
    return LEVEL_OK if fill < HIGH_UNTIL else LEVEL_HIGH
