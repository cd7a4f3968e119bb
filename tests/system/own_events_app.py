"""A service that tells events of its own, in each kind of command."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator

from maitred.worker import Context, Service

plain = Service()
under_trio = Service()


@plain.startup
def load(context: Context) -> None:
    context.event("loaded", size_mb=1.5)


@plain.command
def sync(n: int, *, context: Context) -> int:
    context.event("sync.done", n=n)
    return n


@plain.command
def generated(*, context: Context) -> Generator[int, None, str]:
    context.event("generator.began")
    yield 1
    context.event("generator.ended")
    return "end"


@plain.command
def flood(count: int, *, context: Context) -> None:
    for n in range(count):
        context.event("flood", n=n)


@under_trio.command
async def asynchronous(*, context: Context) -> str:
    context.event("async.done", ok=True)
    return "end"


@under_trio.command
async def streamed(*, context: Context) -> AsyncGenerator[int, None]:
    context.event("async.began")
    yield 1


@under_trio.command
def in_a_thread(*, context: Context) -> str:
    context.event("thread.done")
    return "end"
