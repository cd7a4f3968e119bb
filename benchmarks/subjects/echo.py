"""The task as a service of maitred: the workers of `maitred_.py` load it by name."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from maitred.benchmarks.method.streams import made_parts
from maitred.worker import Service

__all__ = ["service"]

service = Service()


@service.command(idempotent=True)
def echo(payload: Any, task_s: float = 0.0) -> Any:
    """Give the payload back, after sleeping."""
    if task_s:
        time.sleep(task_s)
    return payload


@service.command(idempotent=True)
def stream(parts: int, part_bytes: int) -> Iterator[bytes]:
    """Give so many parts, each with when it was made."""
    yield from made_parts(parts, part_bytes)
