"""When a worker is to be replaced for what has become of it: too old, too large, too much answered. Pure.

    requests    it has answered `recycle_requests`
    age         `recycle_age_s` since it was ready, a tenth more or less, so that a pool that started as one does not
                go as one
    growth      its memory is `recycle_growth_bytes` above what it was when it was ready
    GPU         it has `recycle_gpu_memory_bytes`; the new one starts after it, as both may not fit
    soft limit  it has most of its memory limit: better replaced after its request than killed amid the next one

How it is replaced is in `worker.fleet`.
"""

from __future__ import annotations

from msgspec import Struct

from maitred.worker.agent_settings import AgentSettings
from maitred.worker.sizes import in_words

__all__ = ["Life", "Wear", "worn"]

AGE_JITTER = 0.1
"""Share of the age by which workers of one pool differ, up or down."""


class Life(Struct, frozen=True):
    """A worker as its agent sees it.

    Attributes:
        worker: its id: the age at which it goes follows from it.
        served: requests answered.
        age_s: seconds since it was ready.
        rss: bytes of its process and its children.
        rss_when_ready: the same when it was ready; None: not seen yet.
        gpu_bytes: of GPU memory.
        over_soft: it has reached the soft limit of its memory.
    """

    worker: bytes
    served: int = 0
    age_s: float = 0.0
    rss: int = 0
    rss_when_ready: int | None = None
    gpu_bytes: int = 0
    over_soft: bool = False


class Wear(Struct, frozen=True):
    """Why a worker is replaced: in words, and whether the new one is to be ready first (`surge`)."""

    note: str
    surge: bool = True


def worn(life: Life, settings: AgentSettings) -> Wear | None:
    """Why this worker is to be replaced; None: it is as good as new."""
    grown = 0 if life.rss_when_ready is None else life.rss - life.rss_when_ready
    if life.over_soft:
        return Wear(f"{in_words(life.rss)} of memory, close to memory_limit ({in_words(settings.memory_limit_bytes)})")
    if settings.recycle_requests is not None and life.served >= settings.recycle_requests:
        return Wear(f"{life.served} requests answered (recycle_requests is {settings.recycle_requests})")
    if settings.recycle_age_s is not None and life.age_s >= settings.recycle_age_s * _jitter(life.worker):
        return Wear(f"{life.age_s:.0f} s old (recycle_age is {settings.recycle_age_s:g} s)")
    if settings.recycle_growth_bytes is not None and grown >= settings.recycle_growth_bytes:
        limit = in_words(settings.recycle_growth_bytes)
        return Wear(f"grown by {in_words(grown)} since it was ready (recycle_growth is {limit})")
    if settings.recycle_gpu_memory_bytes is not None and life.gpu_bytes >= settings.recycle_gpu_memory_bytes:
        limit = in_words(settings.recycle_gpu_memory_bytes)
        return Wear(f"{in_words(life.gpu_bytes)} on its GPU (recycle_gpu_memory is {limit})", surge=False)
    return None


def _jitter(worker: bytes) -> float:
    """From 1 - AGE_JITTER to 1 + AGE_JITTER, always the same for a worker: its id is random."""
    return 1 + AGE_JITTER * (2 * int.from_bytes(worker[:4]) / 0xFFFFFFFF - 1)
