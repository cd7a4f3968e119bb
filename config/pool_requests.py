"""The table `[pools.NAME]`, its first half: what it serves, and how requests and sessions are treated."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Struct

from maitred.config.key import DAY_S, GIB, HOUR_S, KIB, MIB, Key
from maitred.config.kinds import Adapter, Bytes, Choice, Count, Duration, Flag, Name, Size, Workers

__all__ = ["PoolRequests"]


class PoolRequests(Struct, frozen=True):
    """The keys of a pool that its requests are treated by."""

    name: str
    adapter: Annotated[
        str | None,
        Key(
            "adapter",
            Adapter(),
            None,
            "The service whose commands the workers run; without it only workers that register from outside serve the "
            "pool, and its size is 0.",
        ),
    ]
    size: Annotated[
        Size,
        Key(
            "size",
            Workers(),
            1,
            "How many workers: a number, an expression of cpus and gpus, or { min, max } for dynamic sizing; one, as more "
            "is a choice that only the application can make.",
        ),
    ]
    memory_limit_bytes: Annotated[
        int | None,
        Key(
            "memory_limit",
            Bytes(MIB, 1024**5),
            None,
            "The memory of one worker beyond which it is replaced; without it there is no limit.",
        ),
    ]
    timeout_s: Annotated[
        float,
        Key(
            "timeout",
            Duration(0.001, 7 * DAY_S),
            "30s",
            "The deadline of requests that bring none, waiting included; a week at most, as what takes longer is a job.",
        ),
    ]
    health_check_interval_s: Annotated[
        float,
        Key(
            "health_check_interval",
            Duration(0.1, DAY_S),
            "30s",
            "How often the pool's health is measured and reported.",
        ),
    ]
    max_queue: Annotated[
        int,
        Key(
            "max_queue",
            Count(1, 1_000_000),
            1000,
            "Requests that may wait or run; one more is refused at once, with the time until there is room, as a "
            "longer line only means longer waits.",
        ),
    ]
    max_queue_bytes: Annotated[
        int,
        Key(
            "max_queue_bytes",
            Bytes(MIB, 1024 * GIB),
            "256MiB",
            "Bytes of the arguments of those requests; one that is larger still passes where there is no other.",
        ),
    ]
    concurrency: Annotated[
        int,
        Key(
            "concurrency",
            Count(1, 1024),
            1,
            "Requests that one worker runs at a time: async functions in one loop, synchronous ones in threads, which they "
            "must be made for. One, as most are not.",
        ),
    ]
    gpu: Annotated[
        Literal["off", "auto", "required"],
        Key(
            "gpu",
            Choice(("off", "auto", "required")),
            "off",
            "Whether workers are given a GPU each in turn: never, where there are any, or else the pool is refused.",
        ),
    ]
    start_method: Annotated[
        Literal["forkserver", "spawn"],
        Key(
            "start_method",
            Choice(("forkserver", "spawn")),
            "forkserver",
            "How workers start: forked from a process that has imported the adapter (fast, memory shared), or each afresh, "
            "for adapters that start threads or open a GPU when imported.",
        ),
    ]
    threads_per_worker: Annotated[
        int,
        Key(
            "threads_per_worker",
            Count(0, 1024),
            1,
            "Threads of numerical libraries in each worker, as workers already use all processors; 0 leaves the libraries "
            "their own choice.",
        ),
    ]
    prefetch: Annotated[
        int,
        Key(
            "prefetch",
            Count(0, 1023),
            15,
            "Requests that may lie ready at a worker besides the one that runs. How many do follows from the commands' "
            "measured times: up to this for no-ops, none behind what takes milliseconds; 0 sends one at a time.",
        ),
    ]
    gc_threshold: Annotated[
        int | None,
        Key(
            "gc_threshold",
            Count(0, 1_000_000_000),
            None,
            "New objects between two runs of Python's garbage collector in each worker; without it Python's own figure, 0 "
            "never runs it, so that what refers to itself is never freed.",
        ),
    ]
    out_of_band_bytes: Annotated[
        int,
        Key(
            "out_of_band",
            Bytes(KIB, 4 * GIB),
            "32KiB",
            "The size from which binary values and arrays of a worker's answers travel in frames of their own, without a "
            "copy; below, copying costs less. Callers set theirs by maitred.protocol.body.set_out_of_band.",
        ),
    ]
    max_attempts: Annotated[
        int,
        Key(
            "max_attempts",
            Count(1, 100),
            3,
            "How often a request of an idempotent command is started in all, where workers die with it.",
        ),
    ]
    restart_backoff_s: Annotated[
        float,
        Key(
            "restart_backoff",
            Duration(0.0, HOUR_S),
            "100ms",
            "The pause before the second restart of a worker that keeps dying; it doubles from there.",
        ),
    ]
    restart_backoff_max_s: Annotated[
        float,
        Key(
            "restart_backoff_max",
            Duration(0.0, DAY_S),
            "30s",
            "The longest pause between restarts, so that a repaired pool is back within it.",
        ),
    ]
    startup_timeout_s: Annotated[
        float,
        Key(
            "startup_timeout",
            Duration(0.1, DAY_S),
            "60s",
            "How long a worker may take until it is ready, models loaded; one that takes longer is killed.",
        ),
    ]
    kill_grace_s: Annotated[
        float,
        Key(
            "kill_grace",
            Duration(0.0, HOUR_S),
            "2s",
            "How long a function may go on after an exception was raised in it, because it was cancelled or its time is "
            "over, before its process is killed.",
        ),
    ]
    kill_on_cancel: Annotated[
        bool | None,
        Key(
            "kill_on_cancel",
            Flag(),
            None,
            "Whether a worker may be killed for a request that was cancelled, or whose time is over, and that does not "
            "stop. Without it: where concurrency is 1, as nobody else is hurt; else the work is given up.",
        ),
    ]
    quarantine_after: Annotated[
        int,
        Key(
            "quarantine_after",
            Count(1, 100),
            3,
            "Workers that a request may kill in a row until it is refused; fewer would blame it for an accident.",
        ),
    ]
    session_ttl_s: Annotated[
        float,
        Key(
            "session_ttl",
            Duration(0.1, 7 * DAY_S),
            "1h",
            "How long a session whose caller says nothing of it lives on after its last reply.",
        ),
    ]
    affinity: Annotated[
        Literal["strict", "fail_fast", "prefer"],
        Key(
            "affinity",
            Choice(("strict", "fail_fast", "prefer")),
            "strict",
            "What a session's request does while the worker that has the session is busy: wait for it, be refused, or run "
            "elsewhere, without the session's state. Callers may say otherwise.",
        ),
    ]
    max_sessions: Annotated[
        int,
        Key(
            "max_sessions",
            Count(0, 1_000_000),
            10_000,
            "Sessions that may be open; one more is refused, as each holds memory in its worker. An event warns from 80 %.",
        ),
    ]
    max_snapshot_bytes: Annotated[
        int,
        Key(
            "max_snapshot",
            Bytes(KIB, 4 * GIB),
            "64MiB",
            "The largest snapshot of a session that the broker keeps in memory; a session with a larger one cannot move.",
        ),
    ]
    majordomo_command: Annotated[
        str | None,
        Key(
            "majordomo_command",
            Name(),
            None,
            "The command that a request of Majordomo's protocol calls; without it, the first frame of its body names it.",
        ),
    ]
    majordomo_body: Annotated[
        Literal["msgpack", "raw"],
        Key(
            "majordomo_body",
            Choice(("msgpack", "raw")),
            "msgpack",
            "What such a request's body is: one frame, the arguments as a msgpack map; or any frames, which the command "
            "gets as its argument `body`, a list of bytes.",
        ),
    ]
