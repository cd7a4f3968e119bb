"""The table `[pools.NAME]`, its second half: how its workers live, from their start to their end."""

from __future__ import annotations

from typing import Annotated

from maitred.config.key import DAY_S, GIB, HOUR_S, MIB, Key
from maitred.config.kinds import Bytes, Calls, Count, Duration, WarmUpCall
from maitred.config.pool_requests import PoolRequests

__all__ = ["PoolConfig"]


class PoolConfig(PoolRequests, frozen=True):
    """One pool: `[pools.NAME]`."""

    warm_up: Annotated[
        tuple[WarmUpCall, ...],
        Key(
            "warm_up",
            Calls(),
            [],
            "Commands that each worker runs for itself before it takes requests, as the first call of a model is slow: "
            '[{ command = "embed", arguments = { text = "warm" } }]. One that fails keeps the worker from being ready.',
        ),
    ]
    warm_spares: Annotated[
        int,
        Key(
            "warm_spares",
            Count(0, 64),
            0,
            "Workers besides the pool's size that have loaded and wait, so that one that died is replaced at once; each "
            "takes a worker's memory.",
        ),
    ]
    scale_up_after_s: Annotated[
        float,
        Key(
            "scale_up_after",
            Duration(0.01, HOUR_S),
            "500ms",
            "The age of the oldest request that waits from which a pool of dynamic size grows; shorter peaks are not worth "
            "a process.",
        ),
    ]
    scale_down_after_s: Annotated[
        float,
        Key(
            "scale_down_after",
            Duration(0.1, DAY_S),
            "1min",
            "How long a worker must not have been needed until a pool of dynamic size shrinks by it.",
        ),
    ]
    scale_cooldown_s: Annotated[
        float,
        Key(
            "scale_cooldown",
            Duration(0.1, HOUR_S),
            "1s",
            "The least time between two changes of a pool's size, so that one shows its effect before the next.",
        ),
    ]
    recycle_requests: Annotated[
        int | None,
        Key(
            "recycle_requests",
            Count(1, 1_000_000_000),
            None,
            "A worker that has answered so many requests is replaced, for code that leaks; a new one is ready first.",
        ),
    ]
    recycle_age_s: Annotated[
        float | None,
        Key(
            "recycle_age",
            Duration(0.1, 365 * DAY_S),
            None,
            "A worker that is so old is replaced; a new one is ready first.",
        ),
    ]
    recycle_growth_bytes: Annotated[
        int | None,
        Key(
            "recycle_growth",
            Bytes(MIB, 1024**5),
            None,
            "A worker whose memory has grown by so much since it was ready is replaced; a new one is ready first.",
        ),
    ]
    recycle_gpu_memory_bytes: Annotated[
        int | None,
        Key(
            "recycle_gpu_memory",
            Bytes(MIB, 1024**5),
            None,
            "A worker that has so much memory on its GPU is replaced; the new one starts after it, as both may not fit.",
        ),
    ]
    gpu_memory_bytes: Annotated[
        int | None,
        Key(
            "gpu_memory",
            Bytes(MIB, 1024 * GIB),
            None,
            "What one worker needs of a GPU: it is given one with so much free, and is not started where there is none. "
            "Without it the GPUs are given in turn.",
        ),
    ]
    restart_budget: Annotated[
        int,
        Key(
            "restart_budget",
            Count(1, 100_000),
            30,
            "Deaths within restart_window after which the pool is degraded: workers are started one at a time, at the "
            "longest pause, until one serves, or until it is resumed by hand.",
        ),
    ]
    restart_window_s: Annotated[
        float,
        Key("restart_window", Duration(1.0, DAY_S), "1min", "How far back deaths count."),
    ]
    drain_timeout_s: Annotated[
        float,
        Key(
            "drain_timeout",
            Duration(0.0, DAY_S),
            "30s",
            "How long a worker that is to go may keep what it runs and its sessions; then its sessions move, or end, and "
            "it is killed where it has not ended after as long again.",
        ),
    ]
