"""What a configuration consists of: one table, which is the types themselves.

Each field of `BrokerConfig` and `PoolConfig` says which TOML key it comes from, of what kind the value is, its default
and why. Reading, messages, `maitred config schema` and the documentation are made from these fields; there is no second
list. Durations are resolved to seconds (`_s`), sizes to bytes (`_bytes`), worker counts to numbers on this host.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from msgspec import Struct

from maitred.config.kinds import (
    Adapter,
    Bytes,
    Choice,
    Count,
    Directory,
    Duration,
    Endpoint,
    Flag,
    HttpAddress,
    Kind,
    Size,
    Workers,
)

__all__ = ["BrokerConfig", "Config", "Key", "PoolConfig", "Size", "keys_of", "route"]

POOL_NAME_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$"
"""Names of pools are arguments of commands and labels of metrics."""

POOL_NAME_FORM = "a name of at most 128 letters, digits and _ . -, which does not begin with . or -"

MAX_POOLS = 256
"""Each has an agent, a fork server and a queue: past some dozens they belong to several brokers."""

MAX_ROUTES = 1024
"""They are tried in order for each request that names no pool."""

MAX_PATTERN_CHARS = 128
"""As long as a command's name may be."""

_KIB, _MIB, _GIB = 2**10, 2**20, 2**30
_HOUR_S, _DAY_S = 3600.0, 86400.0


class Key(Struct, frozen=True):
    """One TOML key.

    Attributes:
        name: as written in the file.
        kind: what values it takes.
        default: as it would be written in the file; None: there is none.
        doc: what it does and why the default is what it is, in a sentence or two.
    """

    name: str
    kind: Kind
    default: Any
    doc: str


class BrokerConfig(Struct, frozen=True):
    """The broker: `[broker]`."""

    clients: Annotated[
        str,
        Key(
            "clients",
            Endpoint(),
            "tcp://127.0.0.1:5750",
            "Where clients call, besides an ipc:// endpoint in the run directory, which is always there. Loopback unless "
            "insecure = true, as a client may run any command.",
        ),
    ]
    workers: Annotated[
        str,
        Key(
            "workers",
            Endpoint(),
            "tcp://127.0.0.1:5751",
            "Where workers and agents register, besides an ipc:// endpoint in the run directory. Loopback unless "
            "insecure = true, as a worker sees what clients send.",
        ),
    ]
    http: Annotated[
        str,
        Key(
            "http",
            HttpAddress(),
            "127.0.0.1:5752",
            'Where the dashboard, /metrics, /healthz, /readyz and the JSON API are served; "" serves none.',
        ),
    ]
    heartbeat_interval_s: Annotated[
        float,
        Key(
            "heartbeat_interval",
            Duration(0.01, 60.0),
            "1s",
            "How often peers say that they live; a second finds a dead host soon and costs nothing.",
        ),
    ]
    heartbeat_liveness: Annotated[
        int,
        Key(
            "heartbeat_liveness",
            Count(2, 100),
            3,
            "How many intervals a peer may be silent until it is given up; a single one would take each delay for a death.",
        ),
    ]
    drain_timeout_s: Annotated[
        float,
        Key(
            "drain_timeout",
            Duration(0.0, _DAY_S),
            "30s",
            "How long running requests may take to finish after SIGTERM; within what service managers grant by default.",
        ),
    ]
    max_message_bytes: Annotated[
        int,
        Key(
            "max_message",
            Bytes(64 * _KIB, 4 * _GIB),
            "256MiB",
            "The largest message that is accepted, all its frames together; the broker holds whole messages in memory.",
        ),
    ]
    busy_poll_s: Annotated[
        float,
        Key(
            "busy_poll",
            Duration(0.0, 0.01),
            "300us",
            "How long the broker looks for the next message before it sleeps, where messages usually come that soon and no "
            "other thread wants its core: it takes a third off a short call. 0 saves the processor time.",
        ),
    ]
    receive_batch: Annotated[
        int,
        Key(
            "receive_batch",
            Count(1, 4096),
            64,
            "Messages taken from clients before workers get their turn, and the other way round: about a millisecond of "
            "work. `maitred bench tune` says whether another figure is better on this host; this and the next three.",
        ),
    ]
    high_water_mark: Annotated[
        int,
        Key(
            "high_water_mark",
            Count(1, 100_000),
            64,
            "Messages queued for one peer in each direction before pressure is felt; small, as a slow peer's memory is "
            "bounded by it.",
        ),
    ]
    io_threads: Annotated[
        int,
        Key(
            "io_threads",
            Count(1, 32),
            1,
            "Threads in which libzmq reads and writes; its own advice is one for each GB that passes in a second.",
        ),
    ]
    gc_threshold: Annotated[
        int | None,
        Key(
            "gc_threshold",
            Count(0, 1_000_000_000),
            None,
            "New objects between two runs of Python's garbage collector; without it Python's own figure, 0 never runs it.",
        ),
    ]
    run_dir: Annotated[
        Path | None,
        Key(
            "run_dir",
            Directory(),
            None,
            "Directory of the lock, the ipc:// sockets and the connection file; without it $MAITRED_RUN_DIR, else "
            "$XDG_RUNTIME_DIR/maitred, else /tmp/maitred-UID, which is where clients look.",
        ),
    ]
    insecure: Annotated[
        bool,
        Key(
            "insecure",
            Flag(),
            False,
            "Allow addresses that other hosts reach, although whoever reaches them may call and register; for networks "
            "that are trusted as a whole.",
        ),
    ]


class PoolConfig(Struct, frozen=True):
    """One pool: `[pools.NAME]`."""

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
            Bytes(_MIB, 1024**5),
            None,
            "The memory of one worker beyond which it is replaced; without it there is no limit.",
        ),
    ]
    timeout_s: Annotated[
        float,
        Key(
            "timeout",
            Duration(0.001, 7 * _DAY_S),
            "30s",
            "The deadline of requests that bring none, waiting included; a week at most, as what takes longer is a job.",
        ),
    ]
    health_check_interval_s: Annotated[
        float,
        Key(
            "health_check_interval",
            Duration(0.1, _DAY_S),
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
            "Requests that may wait for a worker; one more is refused at once, as a longer line "
            "only means longer waits.",
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
            Bytes(_KIB, 4 * _GIB),
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
            Duration(0.0, _HOUR_S),
            "100ms",
            "The pause before the second restart of a worker that keeps dying; it doubles from there.",
        ),
    ]
    restart_backoff_max_s: Annotated[
        float,
        Key(
            "restart_backoff_max",
            Duration(0.0, _DAY_S),
            "30s",
            "The longest pause between restarts, so that a repaired pool is back within it.",
        ),
    ]
    startup_timeout_s: Annotated[
        float,
        Key(
            "startup_timeout",
            Duration(0.1, _DAY_S),
            "60s",
            "How long a worker may take until it is ready, models loaded; one that takes longer is killed.",
        ),
    ]
    kill_grace_s: Annotated[
        float,
        Key(
            "kill_grace",
            Duration(0.0, _HOUR_S),
            "2s",
            "The time between asking a worker to stop and killing it.",
        ),
    ]


class Config(Struct, frozen=True):
    """A whole configuration, checked and resolved on this host.

    Attributes:
        broker: the broker.
        pools: by name, in the order written.
        routing: pattern of a command's name → pool; the first match wins.
        source: the file it was read from; None: the built-in one.
        origins: where each key that was set was set, by its path (`pools.general.size`): file and line, environment
            variable, or option.
    """

    broker: BrokerConfig
    pools: dict[str, PoolConfig]
    routing: dict[str, str]
    source: Path | None = None
    origins: Mapping[str, str] = {}

    def route(self, command: str) -> str | None:
        """The pool for a command whose caller names none; None where no pattern matches."""
        return route(self, command)


def route(config: Config, command: str) -> str | None:
    """The pool of the first pattern that matches a command's name, case and all; None where none does."""
    return next((pool for pattern, pool in config.routing.items() if fnmatchcase(command, pattern)), None)


@cache
def keys_of(table: type[Struct]) -> Mapping[str, Key]:
    """The keys of a table, by the field that each is resolved to."""
    hints = get_type_hints(table, include_extras=True)
    notes = {field: getattr(hint, "__metadata__", (None,))[0] for field, hint in hints.items()}
    return {field: key for field, key in notes.items() if isinstance(key, Key)}
