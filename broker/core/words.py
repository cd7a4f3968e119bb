"""Words for what the core tells people: why a worker died, what a wrong name may have meant."""

from __future__ import annotations

import difflib

from maitred.protocol import messages


def describe(certificate: messages.Certificate) -> str:
    """One sentence of a death certificate."""
    words = certificate.cause
    if certificate.signal is not None:
        words += f" {certificate.signal}"
    elif certificate.exit_code is not None:
        words += f", exit code {certificate.exit_code}"
    return words


def nearest(name: str, known: list[str]) -> str | None:
    """What may have been meant, None where nothing is like it."""
    return next(iter(difflib.get_close_matches(name, known, 1)), None)
