"""Words for what the core tells people: why a worker died, what a wrong name may have meant."""

from __future__ import annotations

import difflib
from typing import Any

from maitred.broker.core.pool import Pool
from maitred.protocol import messages


def describe(certificate: messages.Certificate) -> str:
    """One sentence of a death certificate."""
    words = certificate.cause
    if certificate.signal is not None:
        words += f" {certificate.signal}"
    elif certificate.exit_code is not None:
        words += f", exit code {certificate.exit_code}"
    return words


def death_fields(worker: bytes, pool: Pool, certificate: messages.Certificate, means: str) -> dict[str, Any]:
    """What the event of a death carries; `means` is how it was found out."""
    return {
        "pool": pool.name,
        "worker": worker.hex(),
        "cause": certificate.cause,
        "signal": certificate.signal,
        "exit_code": certificate.exit_code,
        "means": means,
        "note": certificate.note,
    }


def nearest(name: str, known: list[str]) -> str | None:
    """What may have been meant, None where nothing is like it."""
    return next(iter(difflib.get_close_matches(name, known, 1)), None)
