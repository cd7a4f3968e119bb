"""The warm-up: fixed beforehand, the same for every subject, and never judged by what it measures.

A rule that ends the warm-up when the figures look settled would choose the figures.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from maitred.benchmarks.method.load import Flow, Load

__all__ = ["WarmUp"]


class WarmUp(Struct, frozen=True):
    """At least so many requests and at least so long, whichever is more; and never longer than `at_most_s`.

    Attributes:
        requests: connections, caches and a child's first copies of memory settle within a hundred.
        seconds: governors and allocators take their time.
        at_most_s: for tasks that take long.
    """

    requests: int = 200
    seconds: float = 0.3
    at_most_s: float = 3.0

    def run(self, drive: Callable[[Load], Flow], load: Load) -> None:
        """Have a caller's `drive` carry out this load, without its rate, and forget what comes of it."""
        spent_s, done = 0.0, 0
        while (done < self.requests or spent_s < self.seconds) and spent_s < self.at_most_s:
            flow = drive(replace(load, requests=None, seconds=self.seconds / 3, rate_per_s=0.0))
            spent_s += flow.took_s
            done += len(flow.latency)
