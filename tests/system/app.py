"""The application that the system's tests serve: a command for each thing that can go well or wrong."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import trio

from maitred.worker import Context, Service

service = Service()


@service.command
def echo(message: str) -> dict[str, str]:
    return {"message": message}


@service.command
def pid() -> int:
    return os.getpid()


@service.command
def nap(seconds: float, *, context: Context) -> float:
    context.sleep(seconds)
    return seconds


@service.command
def begin_and(what: str, seconds: float, *, context: Context) -> Iterator[str]:
    """Say that it has begun, and then do it: what is busy in the broker's table need not have begun in the worker."""
    yield "begun"
    if what == "nap":
        context.sleep(seconds)
    elif what == "hold":
        ctypes.PyDLL(None).sleep(int(seconds))
    else:
        busy(seconds)
    return what


@service.command
def hold_interpreter(seconds: int) -> str:
    """Sleep in C without giving the interpreter up, as a badly written extension does."""
    ctypes.PyDLL(None).sleep(seconds)
    return "held"


@service.command
def count(n: int) -> Iterator[int]:
    yield from range(n)
    return n


@service.command
def fail(text: str) -> None:
    print("about to fail")
    raise ValueError(text)


@service.command
def leave(code: int) -> None:
    print("leaving", flush=True)
    os._exit(code)


@service.command
def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@service.command(idempotent=True)
def die_once(marker: str) -> str:
    if not os.path.exists(marker):
        open(marker, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


@service.command
def large(size: int) -> bytes:
    return b"x" * size


@service.command
def unserialisable() -> Any:
    return {"rows": [1, object()]}


@service.command
def call_other(pool: str, text: str, *, context: Context) -> Any:
    return context.call(pool, "echo", {"message": text})


@service.command
def call_badly(pool: str, *, context: Context) -> Any:
    return context.call(pool, "echo", {"mesage": "?"})


@service.command
def mark(number: int, seconds: float, file: str) -> int:
    """Leave a line in a file: how often it ran is counted there."""
    with open(file, "a") as lines:
        lines.write(f"{number}\n")
    time.sleep(seconds)
    return number


@service.command
def environment(name: str) -> str | None:
    return os.environ.get(name)


@service.command
def busy(seconds: float) -> float:
    """Compute without looking at anything: no cancel reaches it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return seconds


asynchronous = Service()


@asynchronous.command("echo")
async def aecho(message: str) -> dict[str, str]:
    await trio.lowlevel.checkpoint()
    return {"message": message}


@asynchronous.command
async def acount(n: int) -> AsyncIterator[int]:
    for i in range(n):
        yield i


@asynchronous.command
async def anap(seconds: float) -> float:
    await trio.sleep(seconds)
    return seconds


@asynchronous.command
async def acall_other(pool: str, text: str, *, context: Context) -> Any:
    return await context.acall(pool, "echo", {"message": text})


@asynchronous.command
def call_from_plain(pool: str, text: str, *, context: Context) -> Any:
    return context.call(pool, "echo", {"message": text})


@asynchronous.command("plain")
def plain_in_trio(n: int) -> Iterator[int]:
    yield from range(n)
    return "done"


broken = Service()


@broken.startup
def refuse_to_start() -> None:
    raise RuntimeError("the model file is missing")


slow_to_load = Service()


@slow_to_load.startup
def load() -> None:
    time.sleep(1.0)  # stands for a model that takes its time


@slow_to_load.command("pid")
def slow_pid() -> int:
    return os.getpid()
