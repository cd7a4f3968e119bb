"""Sizes in words, for people."""

from __future__ import annotations

__all__ = ["in_words"]


def in_words(size: int | None) -> str:
    """A size in bytes, to three digits: "317 MiB", "1.25 GiB"."""
    if size is None:
        return "unlimited"
    value, unit = float(size), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1000:
            break
        value, unit = value / 1024, larger
    return f"{value:.3g} {unit}"
