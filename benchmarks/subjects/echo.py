"""The task as a service of maitred: the workers of `maitred_.py` load it by name."""

from __future__ import annotations

import time
from typing import Any

from maitred.worker import Service

__all__ = ["service"]

service = Service()


@service.command(idempotent=True)
def echo(payload: Any, task_s: float = 0.0) -> Any:
    """Give the payload back, after sleeping."""
    if task_s:
        time.sleep(task_s)
    return payload
