"""The figures of `saturation`: what was refused, how soon that was told, and whether the time it named was right.

`retry_after` is held against two times. *Room*: until the next answer came, as each leaves a place free; below the told
time, a caller that obeys has waited for nothing. *Entry*: until a caller that obeys got in, however often it was sent away
again; above the told time, it was told too little.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from maitred.benchmarks.method.followers import Followed
from maitred.benchmarks.method.load import Flow
from maitred.benchmarks.method.recorder import merged
from maitred.benchmarks.method.statistics import p99_us, percentile
from maitred.benchmarks.method.timeline import Ended, first_from
from maitred.client.errors import PoolSaturated

__all__ = ["Bound", "figures", "told_s"]

REFUSED = PoolSaturated.__name__

RATIO_DIGITS = 1000
"""Ratios are ranked as whole thousandths, as `percentile` ranks whole numbers."""


def told_s(error: BaseException) -> float | None:
    """The `retry_after` of a refusal; None where it names none, or is another error."""
    return error.retry_after if isinstance(error, PoolSaturated) else None


class Bound(Struct, frozen=True):
    """What a subject can do, and how much it accepts.

    Attributes:
        capacity_per_s: what it serves when it is never idle.
        max_queue: requests that it accepts at a time.
    """

    capacity_per_s: float
    max_queue: int

    @property
    def wait_us(self) -> float:
        """Until the last one that is let in is served, and all before it."""
        return self.max_queue / self.capacity_per_s * 1e6


def figures(
    flows: Sequence[Flow],
    blocks: Sequence[Sequence[Ended]],
    followed: Sequence[Followed],
    bound: Bound,
    served_beside: int = 0,
) -> dict[str, float]:
    """The values of one subject at one load, by name.

    Args:
        flows: of all blocks.
        blocks: every request of each block; empty where requests could not be watched.
        followed: the refusals that were followed.
        bound: what the subject can do, and how much it accepts.
        served_beside: requests that those who followed refusals had served.
    """
    took_s = sum(flow.took_s for flow in flows)
    served = sum(len(flow.latency) for flow in flows)
    refused = sorted(merged(flow.failed[REFUSED] for flow in flows if REFUSED in flow.failed))
    all_ended = served + sum(len(times) for flow in flows for times in flow.failed.values())
    goodput_per_s = (served + served_beside) / took_s if took_s else 0.0
    found = {
        "capacity_per_s": round(bound.capacity_per_s, 1),
        "of_capacity_share": round(goodput_per_s / bound.capacity_per_s, 4) if bound.capacity_per_s else 0.0,
        "refused_share": round(len(refused) / all_ended, 4) if all_ended else 0.0,
    }
    if refused and served:
        found["p99_per_bound"] = round(p99_us(merged(flow.latency for flow in flows)) / bound.wait_us, 3)
    if refused:
        # From the sending, where that is known: from when it was due, the generator's lag would be part of it.
        watched = sorted(it.ended_ns - it.sent_ns for it in _refusals(blocks)) or refused
        found |= {"refusal_p50_us": percentile(watched, 50) / 1e3, "refusal_p99_us": percentile(watched, 99) / 1e3}
    return found | _hints(blocks) | _entries(followed)


def _refusals(blocks: Sequence[Sequence[Ended]]) -> list[Ended]:
    return [it for block in blocks for it in block if isinstance(it.error, PoolSaturated)]


def _rooms(blocks: Sequence[Sequence[Ended]]) -> Iterator[tuple[float, float | None]]:
    """For each refusal: seconds until a place was free, and the seconds that it was told. The last ones saw none."""
    for block in blocks:
        successes_ns = sorted(it.ended_ns for it in block if it.error is None)
        for it in _refusals([block]):
            free_ns = first_from(successes_ns, it.ended_ns)
            if free_ns is not None and it.error is not None:
                yield (free_ns - it.ended_ns) / 1e9, told_s(it.error)


def _hints(blocks: Sequence[Sequence[Ended]]) -> dict[str, float]:
    rooms = list(_rooms(blocks))
    if not rooms:
        return {}
    told = [(room_s, hint_s) for room_s, hint_s in rooms if hint_s is not None]
    found = {
        "room_p50_ms": percentile(sorted(int(room_s * 1e9) for room_s, _ in rooms), 50) / 1e6,
        "told_share": round(len(told) / len(rooms), 4),
    }
    if told:
        hints_ns = sorted(int(hint_s * 1e9) for _, hint_s in told)
        found |= {"told_p50_ms": percentile(hints_ns, 50) / 1e6, "told_p99_ms": percentile(hints_ns, 99) / 1e6}
    return found | _ratios("room_per_told", (room_s / hint_s for room_s, hint_s in told if hint_s > 0))


def _entries(followed: Sequence[Followed]) -> dict[str, float]:
    tried = [it for it in followed if it.tries]
    if not tried:
        return {}
    at_once = sum(it.in_s is not None and it.tries == 1 for it in tried)
    entered = (it.in_s / it.told_s for it in tried if it.in_s is not None and it.told_s > 0)
    return {"in_at_first_try_share": round(at_once / len(tried), 4)} | _ratios("entry_per_told", entered)


def _ratios(name: str, ratios: Iterable[float]) -> dict[str, float]:
    """Three percentiles of a ratio."""
    ranked = sorted(int(ratio * RATIO_DIGITS) for ratio in ratios)
    return {f"{name}_p{p}": percentile(ranked, p) / RATIO_DIGITS for p in (10, 50, 90)} if ranked else {}
