"""A service whose workers are killed by the hundred: what it began is counted in a file."""

from __future__ import annotations

import ctypes
import importlib
import os
import time
from collections.abc import Iterator

from maitred.worker import Service

service = Service()


def note(number: int, file: str) -> None:
    journal = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(journal, b"%d\n" % number)  # one line that other processes' lines do not cut
    os.close(journal)


@service.command
def once(number: int, seconds: float, file: str) -> int:
    note(number, file)
    time.sleep(seconds)
    return number


@service.command(idempotent=True)
def again(number: int, seconds: float, file: str) -> int:
    note(number, file)
    time.sleep(seconds)
    return number


@service.command
def pid() -> int:
    return os.getpid()


@service.command
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@service.command
def begin(seconds: float) -> Iterator[int]:
    """Say who has begun it, then take long: what is busy in the broker's table need not have begun in the worker."""
    yield os.getpid()
    time.sleep(seconds)


@service.command
def hold_interpreter(seconds: int) -> str:
    """Sleep in C without giving the interpreter up."""
    ctypes.PyDLL(None).sleep(seconds)
    return "held"


preloading = Service()


@preloading.preload
def preload() -> None:
    importlib.import_module("sklearn.ensemble")  # some 400 ms


@preloading.command("pid")
def pid_with_library() -> int:
    importlib.import_module("sklearn.ensemble")
    return os.getpid()


@service.command
def take(mib: int, seconds: float, keep: bool = False) -> int:
    """Take memory, a piece at a time, and hold it."""
    pieces: list[bytearray] = _kept if keep else []
    for _ in range(mib):
        pieces.append(bytearray(b"x" * (1 << 20)))
        time.sleep(seconds / mib)
    return os.getpid()


_kept: list[bytearray] = []
