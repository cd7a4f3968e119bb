"""Applications that are told to stop, take batches, and run several requests at a time."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from typing import Any

import trio

from maitred.worker import Cancelled, Context, Service

service = Service()


@service.command
def pid() -> int:
    return os.getpid()


@service.command
def look(marker: str, *, context: Context) -> None:
    """Look at the flag."""
    mark(marker)
    while True:
        context.sleep(60)


@service.command
def block(marker: str) -> None:
    """Look at nothing, in a blocking call."""
    mark(marker)
    time.sleep(60)


@service.command
def compute(marker: str) -> None:
    """Look at nothing, in a loop."""
    mark(marker)
    while True:
        pass


@service.command
def swallow(marker: str) -> None:
    """Go on, whatever is raised."""
    mark(marker)
    while True:
        try:
            time.sleep(60)
        except Cancelled:
            continue


@service.command
def hold(marker: str, seconds: int) -> str:
    """Keep the interpreter, in C."""
    mark(marker)
    ctypes.PyDLL(None).sleep(seconds)
    return "held"


def mark(marker: str) -> None:
    """Say that the function has begun: what is busy in the broker's table may still lie in the worker's queue."""
    open(marker, "w").close()


# --- batches ----------------------------------------------------------------------------------------------------------


@service.command(batch=16, max_wait="5ms")
def embed(text: list[str]) -> list[Any]:
    """The size of the batch that each text was in."""
    if "raise" in text:
        raise ValueError("the whole batch fails")
    time.sleep(0.002)  # what the model takes, however many there are
    return [KeyError(each) if each == "unknown" else len(text) for each in text]


# --- several at a time ------------------------------------------------------------------------------------------------

_here = threading.Semaphore(0)
_inside = 0
_lock = threading.Lock()


@service.command
def meet(count: int, *, context: Context) -> int:
    """Wait until so many have been here at a time; returns how many were seen."""
    global _inside
    with _lock:
        _inside += 1
    most = 0
    try:
        while most < count:
            context.check_cancelled()
            most = max(most, _inside)
            time.sleep(0.0005)
        return most
    finally:
        context.sleep(0.01)  # so that all of them see it
        with _lock:
            _inside -= 1


@service.command
def call_other(pool: str, *, context: Context) -> Any:
    return context.call(pool, "pid")


mixed = Service()


@mixed.command
async def abide() -> None:
    await trio.sleep_forever()


mixed.command("meet")(meet)
mixed.command("pid")(pid)
