"""What the traced calls of the tests do."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import trio

from maitred.worker import Context, Service

outer = Service()
inner = Service()
batches = Service()


@outer.command
def relay(text: str, *, context: Context) -> str:
    return context.call("inner", "shout", {"text": text})


@outer.command(idempotent=True)
def die_once(*, context: Context) -> int:
    if context.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return context.attempt


@outer.command
def nap(seconds: float, *, context: Context) -> None:
    context.sleep(seconds)


@outer.command
def fail() -> None:
    raise ValueError("no such row")


@outer.command
def count(n: int) -> Iterator[int]:
    yield from range(n)


@outer.command
def stand(*, context: Context) -> list[str]:
    return [context.traceparent, context.tracestate, context.call("inner", "stand")[0]]


@inner.command
async def shout(text: str, *, context: Context) -> str:
    await trio.lowlevel.checkpoint()
    return text.upper()


@inner.command
async def arelay(text: str, *, context: Context) -> str:
    return await context.acall("inner", "shout", {"text": text})


@inner.command("stand")
def stand_here(*, context: Context) -> list[str]:
    return [context.traceparent, context.tracestate]


@batches.command(batch=8, max_wait=0.2)
def double(n: list[int]) -> list[int]:
    time.sleep(0.1)  # the others come meanwhile
    return [2 * each for each in n]
