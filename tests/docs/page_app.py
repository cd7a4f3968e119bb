"""What the pages' examples call, beside the bundled commands."""

from __future__ import annotations

import os

from maitred.worker import Service
from maitred.worker.adapters.general import service as general

__all__ = ["crashing", "general"]

crashing = Service()


@general.command(idempotent=True)
def summarise(text: str) -> str:
    return text[:20]


@crashing.command(idempotent=True)
def crash() -> None:
    os._exit(3)
