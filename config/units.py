"""Durations and sizes as people write them: "500ms", "5min", "512MB", "1GiB". Exact arithmetic, refusal for the rest."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from typing import Any

from maitred.config.problems import ValueRejected, nearest

__all__ = ["DURATION_FORM", "SIZE_FORM", "format_duration", "format_size", "parse_duration", "parse_size"]

_SECONDS = {
    "us": Fraction(1, 10**6),
    "ms": Fraction(1, 10**3),
    "s": Fraction(1),
    "m": Fraction(60),
    "min": Fraction(60),
    "h": Fraction(3600),
    "d": Fraction(86400),
}
_BYTES = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}

MAX_DIGITS = 20
"""Before the point, and behind it."""

_NUMBER = rf"[0-9]{{1,{MAX_DIGITS}}}(?:\.[0-9]{{1,{MAX_DIGITS}}})?"
DURATION_PATTERN = rf"^({_NUMBER}) ?({'|'.join(_SECONDS)})?$"
SIZE_PATTERN = rf"^({_NUMBER}) ?({'|'.join(_BYTES)})?$"
_DURATION = re.compile(DURATION_PATTERN)
_SIZE = re.compile(SIZE_PATTERN)
_LOOSE = re.compile(rf"\s*({_NUMBER})\s*([A-Za-z]+)\s*")

DURATION_FORM = 'a duration: a number and a unit (us, ms, s, min, h, d), as "500ms" or "5min"; a bare number is seconds'
SIZE_FORM = (
    'a size: a number and a unit, as "512MB" (kB, MB, GB, TB: powers of ten) or "1GiB" (KiB, MiB, GiB, TiB: '
    "powers of two); a bare number is bytes"
)

MAX_DURATION_S = 100 * 365 * 86400.0
"""A century: more is a slip of the keys, and clocks overflow somewhere beyond it."""

MAX_SIZE_BYTES = 2**63 - 1
"""What fits the kernel's own counters."""


def parse_duration(value: Any) -> float:
    """Seconds of "1s", "500ms", "5min", "2h", or of a number of seconds.

    Raises:
        ValueRejected: a ValueError; it is none of these, negative, or longer than a century.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueRejected(value, DURATION_FORM)
    if isinstance(value, str):
        found = _DURATION.fullmatch(value)
        if found is None:
            raise ValueRejected(value, DURATION_FORM, nearest=_meant(value, _SECONDS))
        value = float(Fraction(found[1]) * _SECONDS[found[2] or "s"])
    if not 0 <= value <= MAX_DURATION_S:
        raise ValueRejected(value, DURATION_FORM, reason="out of range")
    return float(value)


def parse_size(value: Any) -> int:
    """Bytes of "512MB" (powers of ten), "1GiB" (powers of two), or of a number of bytes.

    Raises:
        ValueRejected: a ValueError; it is none of these, negative, no whole number of bytes, or beyond 2^63.
    """
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueRejected(value, SIZE_FORM)
    if isinstance(value, int):
        size = value
    else:
        found = _SIZE.fullmatch(value)
        if found is None:
            raise ValueRejected(value, SIZE_FORM, nearest=_meant(value, _BYTES))
        exact = Fraction(found[1]) * _BYTES[found[2] or "B"]
        if exact.denominator != 1:
            raise ValueRejected(value, SIZE_FORM, reason="no whole number of bytes")
        size = int(exact)
    if not 0 <= size <= MAX_SIZE_BYTES:
        raise ValueRejected(value, SIZE_FORM, reason="out of range")
    return size


def format_duration(seconds: float) -> str:
    """The shortest way to write it that `parse_duration` reads back to the same number, as "5min"."""
    for unit in ("d", "h", "min", "s", "ms", "us"):
        count = Fraction(repr(seconds)) / _SECONDS[unit]
        if count >= 1 and count.denominator == 1:
            return f"{count.numerator}{unit}"
    whole, _, decimals = f"{Decimal(repr(seconds)):f}".partition(".")
    decimals = decimals[:MAX_DIGITS].rstrip("0")
    return f"{whole}.{decimals}s" if decimals else f"{whole}s"


def format_size(size: int) -> str:
    """The shortest way to write it exactly, as "512MB" or "1GiB"."""
    ways = [f"{size // factor}{unit}" for unit, factor in _BYTES.items() if size % factor == 0 and unit != "KB"]
    return min(ways, key=len) if size else "0B"


def _meant(text: str, units: dict[str, Any]) -> str | None:
    """The same number with a unit that there is: "512mb" → "512MB"."""
    found = _LOOSE.fullmatch(text)
    if found is None:
        return None
    same = next((unit for unit in units if unit.lower() == found[2].lower()), None)
    near = same or nearest(found[2], units)
    return f'"{found[1]}{near}"' if near else None
