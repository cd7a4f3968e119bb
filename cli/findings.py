"""What a check of `maitred doctor` found."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BROKEN", "FINE", "MARKS", "NOTE", "Finding"]

FINE = "fine"
NOTE = "note"
BROKEN = "broken"
"""States: in order; works, with something to know; does not work."""

MARKS = {FINE: "✓", NOTE: "!", BROKEN: "✗"}


@dataclass(frozen=True)
class Finding:
    """One line.

    Attributes:
        check: what was looked at.
        state: FINE, NOTE or BROKEN.
        found: what is the case.
        todo: what to do about it; empty where nothing needs to be done.
    """

    check: str
    state: str
    found: str
    todo: str = ""
