"""A load, what came of it, and the plan of when each request is due. The drivers (`drivers.py`) carry loads out.

Three kinds:

- closed loop: one outstanding, the next is sent when the answer is there. Latency without a queue.
- pipelined: n outstanding. Throughput; its latencies are mostly its own queue.
- open loop (`rate_per_s`): requests are due at times fixed beforehand, whatever the answers do, and each is timed from
  when it was *due*. Where the generator itself is late, that is recorded as its lag.
"""

from __future__ import annotations

import random
from typing import Any, Literal

from msgspec import Struct, field

from maitred.benchmarks.method.recorder import Durations, durations

__all__ = ["Flow", "Load", "due_ns"]


class Load(Struct, frozen=True, kw_only=True):
    """What to put on a subject. Either `requests` or `seconds` bounds it; with both, what comes first.

    Attributes:
        payload: what each request carries.
        task_s: seconds that the worker sleeps for each.
        outstanding: requests under way at most; for an open loop, what is due beyond it waits, and its lag shows it.
        requests: how many.
        seconds: for how long requests are begun; those under way are waited for.
        rate_per_s: 0 sends when there is room; else an open loop.
        spacing: of an open loop: "constant", or "poisson" for independent callers.
        seed: of the Poisson process.
        timeout_s: each request's time.
    """

    payload: Any = b""
    task_s: float = 0.0
    outstanding: int = 1
    requests: int | None = None
    seconds: float | None = None
    rate_per_s: float = 0.0
    spacing: Literal["constant", "poisson"] = "poisson"
    seed: int = 1
    timeout_s: float = 60.0

    def __post_init__(self) -> None:
        if self.requests is None and self.seconds is None:
            raise ValueError("a load needs `requests` or `seconds`")
        if self.outstanding < 1:
            raise ValueError(f"outstanding is {self.outstanding}; at least 1 is needed")


class Flow(Struct, kw_only=True):
    """What came of a load.

    Attributes:
        latency: nanoseconds of each success, from its sending, or from when it was due where it was.
        lag: nanoseconds by which each request was sent late; empty unless it was an open loop.
        failed: nanoseconds until each failure, by the error's name.
        errors: the first error of each name, for what it carries.
        began_ns, ended_ns: from the first sending to the last answer, by the clock of the measurements.
    """

    latency: Durations = field(default_factory=durations)
    lag: Durations = field(default_factory=durations)
    failed: dict[str, Durations] = field(default_factory=dict[str, Durations])
    errors: dict[str, BaseException] = field(default_factory=dict[str, BaseException])
    began_ns: int = 0
    ended_ns: int = 0

    def fail(self, error: BaseException, took_ns: int) -> None:
        """Record a failure."""
        name = type(error).__name__
        self.errors.setdefault(name, error)
        self.failed.setdefault(name, durations()).append(took_ns)

    @property
    def took_s(self) -> float:
        """From the first sending to the last answer."""
        return (self.ended_ns - self.began_ns) / 1e9

    @property
    def per_s(self) -> float:
        """Successes in a second."""
        return len(self.latency) / self.took_s if self.ended_ns > self.began_ns else 0.0


def due_ns(load: Load) -> Durations:
    """When each request of an open loop is due, in nanoseconds after its beginning.

    Raises:
        ValueError: it is none.
    """
    if load.rate_per_s <= 0:
        raise ValueError("only an open loop has times at which requests are due: rate_per_s is 0")
    draw = random.Random(load.seed)
    gap_ns = 1e9 / load.rate_per_s
    limit_ns = None if load.seconds is None else load.seconds * 1e9
    times, at = durations(), 0.0
    while load.requests is None or len(times) < load.requests:
        if limit_ns is not None and at >= limit_ns:
            break
        times.append(int(at))
        at += gap_ns if load.spacing == "constant" else draw.expovariate(1.0) * gap_ns
    return times
