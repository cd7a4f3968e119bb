"""The worker of the NATS subject: a member of a queue group, which answers one request after the other."""

from __future__ import annotations

import asyncio
import importlib
import time
from typing import Any, NoReturn

from msgspec import Struct

from maitred.benchmarks.subjects import child

__all__ = ["GROUP", "SUBJECT", "TASK_HEADER", "NatsWorker", "worker"]

SUBJECT, GROUP = "echo", "workers"

TASK_HEADER = "Task-Seconds"
"""Only where the task is to take some time: a message with headers costs both sides more."""


class NatsWorker(Struct):
    """What a worker is told: the server's URL."""

    url: str


def worker() -> NoReturn:
    """A worker's process."""
    told = child.settings(NatsWorker)
    asyncio.run(_serve(told))
    raise SystemExit


async def _serve(told: NatsWorker) -> None:
    nats: Any = importlib.import_module("nats")
    connection = await nats.connect(told.url)
    await connection.subscribe(SUBJECT, queue=GROUP, cb=_answer)
    await connection.flush()
    child.report(told)
    await asyncio.get_running_loop().create_future()


async def _answer(message: Any) -> None:
    """The client library calls it for one message at a time; the sleep keeps the whole worker busy, as work would."""
    if message.headers:
        time.sleep(float(message.headers[TASK_HEADER]))  # noqa: ASYNC251
    await message.respond(message.data)
