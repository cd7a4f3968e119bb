"""The figures of `returns`: what became of callers who came back, and whether the crowd itself was on time."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from msgspec import Struct

from maitred.benchmarks.method.load import Flow
from maitred.benchmarks.method.statistics import MAX_LAG_SHARE, percentile

__all__ = ["Block", "Came", "figures", "lateness"]


class Came(Struct, frozen=True):
    """One caller that was served.

    Attributes:
        refusals: how often it was sent away before.
        waited_s: for how long it was to wait, in all.
        late_ns: how late it came back, the latest time.
        served_ns: when it was served, by the clock of the measurements.
    """

    refusals: int
    waited_s: float
    late_ns: int
    served_ns: int


class Block(Struct, frozen=True):
    """One crowd.

    Attributes:
        flow: its latency is the time until served, from the time at which a caller was due to arrive.
        came: all callers.
        capacity_per_s: what the pool served before, never idle.
    """

    flow: Flow
    came: list[Came]
    capacity_per_s: float


def figures(blocks: Sequence[Block], seconds: float) -> dict[str, float]:
    """The values of one way to wait.

    Args:
        blocks: of all rounds.
        seconds: for which callers arrived in each.
    """
    came = [it for block in blocks for it in block.came]
    refused = [it for it in came if it.refusals]
    found = {
        "capacity_per_s": round(statistics.mean(block.capacity_per_s for block in blocks), 1),
        "of_capacity_share": round(
            statistics.mean(_goodput_per_s(it, seconds) / it.capacity_per_s for it in blocks), 4
        ),
        "refused_share": round(len(refused) / len(came), 4) if came else 0.0,
    }
    if refused:
        found |= {
            "first_return_share": round(sum(it.refusals == 1 for it in refused) / len(refused), 4),
            "calls_per_caller": round(1 + statistics.mean(it.refusals for it in came), 3),
            "waited_p50_ms": percentile(sorted(int(it.waited_s * 1e6) for it in refused), 50) / 1e3,
            "late_return_p99_ms": percentile(sorted(it.late_ns for it in refused), 99) / 1e6,
        }
    return found | {"all_served_s": round(statistics.mean(block.flow.took_s for block in blocks), 3)}


def _goodput_per_s(block: Block, seconds: float) -> float:
    """While callers arrived: afterwards there may be nobody left to serve."""
    end_ns = block.flow.began_ns + int(seconds * 1e9)
    return sum(it.served_ns < end_ns for it in block.came) / seconds


def lateness(blocks: Sequence[Block]) -> str:
    """Why returns must not be judged: callers who came back late are no test of what they were told. "" where they may."""
    found = figures(blocks, 1.0)
    late_ms, waited_ms = found.get("late_return_p99_ms", 0.0), found.get("waited_p50_ms", 0.0)
    if late_ms <= MAX_LAG_SHARE * waited_ms:
        return ""
    return f"callers came back {late_ms:.0f} ms late (p99) after {waited_ms:.0f} ms; {MAX_LAG_SHARE:.0%} is allowed"
