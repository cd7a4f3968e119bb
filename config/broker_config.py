"""The table `[broker]`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Struct

from maitred.config.key import DAY_S, GIB, KIB, MIB, Key
from maitred.config.kinds import AbsolutePath, Bytes, Count, Duration, Endpoint, Flag, HttpAddress

__all__ = ["BrokerConfig"]


class BrokerConfig(Struct, frozen=True):
    """The broker: `[broker]`."""

    clients: Annotated[
        str,
        Key(
            "clients",
            Endpoint(),
            "tcp://127.0.0.1:5750",
            "Where clients call, besides an ipc:// endpoint in the run directory, which is always there. Loopback unless "
            "there is a key, or insecure = true: a client may run any command.",
        ),
    ]
    workers: Annotated[
        str,
        Key(
            "workers",
            Endpoint(),
            "tcp://127.0.0.1:5751",
            "Where workers and agents register, besides an ipc:// endpoint in the run directory. Loopback unless "
            "there is a key, or insecure = true: a worker sees what clients send.",
        ),
    ]
    http: Annotated[
        str,
        Key(
            "http",
            HttpAddress(),
            "127.0.0.1:5752",
            'Where the page, its API, /healthz, /readyz and /metrics are served; "" serves none.',
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
            Duration(0.0, DAY_S),
            "30s",
            "How long running requests may take to finish after SIGTERM; within what service managers grant by default.",
        ),
    ]
    drain_delay_s: Annotated[
        float,
        Key(
            "drain_delay",
            Duration(0.0, DAY_S),
            "0s",
            "How long requests are still taken after SIGTERM while /readyz says 503: until balancers have noticed.",
        ),
    ]
    max_message_bytes: Annotated[
        int,
        Key(
            "max_message",
            Bytes(64 * KIB, 4 * GIB),
            "256MiB",
            "The largest message that is accepted, all its frames together; the broker holds whole messages in memory.",
        ),
    ]
    max_queued_bytes: Annotated[
        int,
        Key(
            "max_queued_bytes",
            Bytes(MIB, 1024 * GIB),
            "1GiB",
            "Bytes of the arguments of all requests, queued or running, of all pools: what the broker's memory must hold.",
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
            AbsolutePath(),
            None,
            "Where the lock, the ipc:// sockets and the connection file are; without it $MAITRED_RUN_DIR, else "
            "$XDG_RUNTIME_DIR/maitred, else /tmp/maitred-UID, which is where clients look.",
        ),
    ]
    insecure: Annotated[
        bool,
        Key(
            "insecure",
            Flag(),
            False,
            "Allow addresses that other hosts reach, although whoever reaches them may call, register and operate; for "
            "networks that are trusted as a whole.",
        ),
    ]
    key_file: Annotated[
        Path | None,
        Key(
            "key",
            AbsolutePath(),
            None,
            "File of the broker's CURVE key, as `maitred keys new` makes it: with it every tcp:// endpoint asks for a key, "
            "and everything on it is encrypted.",
        ),
    ]
    authorized_file: Annotated[
        Path | None,
        Key(
            "authorized",
            AbsolutePath(),
            None,
            "File that says whose keys may do what; without it authorized.toml beside the broker's key. Read at the start "
            "and by `maitred reload`.",
        ),
    ]
    http_token_file: Annotated[
        Path | None,
        Key(
            "http_token",
            AbsolutePath(),
            None,
            "File of the token that HTTP asks for (Authorization: Bearer …), readable by its owner only. Needed where "
            "other hosts reach broker.http.",
        ),
    ]
    majordomo: Annotated[
        str,
        Key(
            "majordomo",
            Endpoint(optional=True),
            "",
            "Where clients and workers that speak Majordomo's protocol (MDP/0.1 and 0.2) connect, both at one endpoint. "
            'Its workers need no secret, so whoever reaches it may serve; "" opens none.',
        ),
    ]
    majordomo_heartbeat_s: Annotated[
        float,
        Key(
            "majordomo_heartbeat",
            Duration(0.05, 60.0),
            "2.5s",
            "How often a worker of that protocol that waits says that it lives: 2.5 s by its guide.",
        ),
    ]
    max_connections: Annotated[
        int,
        Key(
            "max_connections",
            Count(1, 1_000_000),
            20_000,
            "Connections open at a time; the next one is turned away at its handshake. Each takes a descriptor, some KiB.",
        ),
    ]
    max_connections_per_address: Annotated[
        int,
        Key(
            "max_connections_per_address",
            Count(1, 1_000_000),
            4096,
            "Of these, from one address: one host must not take all of them.",
        ),
    ]
    memory_limit_bytes: Annotated[
        int | None,
        Key(
            "memory_limit",
            Bytes(64 * MIB, 1024 * GIB),
            None,
            "Memory of the broker's process. From 80 % on new requests are refused; at the limit the connection that "
            "sends without end is cut, or the endpoint opened anew. Without it: half of what the host has.",
        ),
    ]
