"""Small commands for trying, measuring and testing a pool: nothing here needs more than the standard library and psutil."""

from __future__ import annotations

import math
import os
import platform
import socket
import time
from collections.abc import Generator
from typing import Annotated, Any

import psutil
from msgspec import Meta

from maitred.worker import Context, Service

__all__ = ["compute", "echo", "info", "ping", "service", "sleep", "square"]

MAX_N = 10_000_000_000
"""Numbers that `compute` searches at most: minutes of one core."""

SEGMENT = 1 << 17
"""Numbers that `compute` sieves at once, between two looks at its context: about a millisecond, in 128 KiB."""

MAX_PARTS = 100
"""Progress parts of one `compute`, however long it runs: one for each percent."""

MAX_SLEEP_S = 86_400.0
"""Seconds that `sleep` sleeps at most: a day."""

service = Service()


@service.command(idempotent=True)
def ping() -> dict[str, Any]:
    """Say that this worker answers, which process it is, and its time of day (Unix seconds)."""
    return {"pong": True, "pid": os.getpid(), "time": time.time()}


@service.command(idempotent=True)
def echo(**fields: Any) -> dict[str, Any]:
    """Return the arguments, whatever they are, unchanged."""
    return fields


@service.command(idempotent=True)
def square(x: int | float) -> int | float:
    """Return x times x."""
    return x * x


@service.command
def sleep(seconds: Annotated[float, Meta(ge=0, le=MAX_SLEEP_S)], *, context: Context) -> dict[str, float]:
    """Sleep, unless told to stop; returns the seconds it slept."""
    began = time.monotonic()
    context.sleep(seconds)
    return {"slept": time.monotonic() - began}


@service.command(idempotent=True)
def compute(
    n: Annotated[int, Meta(ge=0, le=MAX_N)] = 1_000_000, *, context: Context
) -> Generator[dict[str, float], None, dict[str, Any]]:
    """Keep one core busy: count the primes below n by a sieve in plain Python. Streams its progress, 0 to 1."""
    began = time.perf_counter()
    base = _primes_below(math.isqrt(max(n - 1, 0)) + 1)
    primes, shown = 0, 0
    for low in range(2, n, SEGMENT):
        context.check_cancelled()
        high = min(low + SEGMENT, n)
        primes += _count_primes(low, high, base)
        if high * MAX_PARTS // n > shown:
            shown = high * MAX_PARTS // n
            yield {"progress": high / n}
    return {"n": n, "primes": primes, "seconds": time.perf_counter() - began}


@service.command(idempotent=True)
def info() -> dict[str, Any]:
    """Describe this worker: host, process, Python, processors, memory (bytes), load, and age of the process (s)."""
    process = psutil.Process()
    return {
        "host": socket.gethostname(),
        "pid": process.pid,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": _cpus(),
        "rss": process.memory_info().rss,
        "load_average": list(os.getloadavg()),
        "uptime": max(0.0, time.time() - process.create_time()),
    }


def _primes_below(n: int) -> list[int]:
    flags = bytearray(b"\1") * n
    flags[:2] = bytes(min(n, 2))
    for number in range(2, math.isqrt(n) + 1):
        if flags[number]:
            flags[number * number :: number] = bytes(len(range(number * number, n, number)))
    return [number for number in range(n) if flags[number]]


def _count_primes(low: int, high: int, base: list[int]) -> int:
    """Count the primes from `low` (2 or more) up to `high`, which it leaves out; `base` are all up to its root."""
    flags = bytearray(b"\1") * (high - low)
    for prime in base:
        if prime * prime >= high:
            break
        first = max(prime * prime, -(-low // prime) * prime)
        flags[first - low :: prime] = bytes(len(range(first, high, prime)))
    return flags.count(1)


def _cpus() -> int:
    """Processors that this process may use, where the system says; those of the machine elsewhere."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
