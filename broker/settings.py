"""What a broker process is told when it starts. It crosses a pipe as JSON where `maitred up` starts it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from fnmatch import fnmatchcase

from msgspec import Struct

from maitred.broker.core.policy import Policy
from maitred.broker.core.settings import ClientSettings, CoreSettings, PoolSettings
from maitred.protocol import limits
from maitred.transport.drain import DEFAULT_BATCH
from maitred.transport.sockets import DEFAULT_HWM

__all__ = ["BrokerSettings"]


class BrokerSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """One broker.

    Attributes:
        clients: endpoint where clients connect, besides the `ipc://` one in the run directory; port 0: any.
        workers: the same for workers and agents.
        http: host:port of the probes; port 0: any, "": there are none.
        run_dir: directory of the lock, the `ipc://` sockets and the connection file; None: the default one.
        pools: what can be called.
        routing: pattern of a command's name → pool; the first match wins.
        given: pattern of the name that a client gives itself → what it is given; the first match wins.
        busy_poll_s: how long to look for the next message before going to sleep.
        receive_batch: messages taken from one side before the other's turn.
        high_water_mark: messages queued for one peer, each way.
        io_threads: libzmq's.
        gc_threshold: new objects between two runs of the garbage collector; 0: never, None: Python's own figure.
        majordomo: endpoint for both roles of Majordomo's protocol; "": there is none.
        majordomo_heartbeat_s: what a peer of it that waits says that it lives by.
        key_file: the broker's CURVE key; None: its TCP endpoints are open to whoever reaches them.
        authorized_file: whose keys may do what.
        insecure: whether endpoints that other hosts reach may be open.
        drain_delay_s: from the first signal until nothing new is taken; it is not ready meanwhile, and serves.
        http_token_file: what HTTP asks for as bearer token; None: nothing, where it listens on loopback.
        max_connections: open at a time, on all sides.
        max_connections_per_address: of these, from one host.
        memory_limit_bytes: of the broker's process; None: half of the memory that it may have.
        parent: process id of who started it, with whom it dies; None: it lives on its own.
    """

    clients: str
    workers: str
    pools: list[PoolSettings]
    routing: list[tuple[str, str]]
    given: list[tuple[str, ClientSettings]] = []
    http: str = ""
    run_dir: str | None = None
    heartbeat_interval_s: float = 1.0
    heartbeat_liveness: int = 3
    drain_timeout_s: float = 30.0
    drain_delay_s: float = 0.0
    max_message_bytes: int = limits.MAX_MESSAGE_BYTES
    max_queued_bytes: int = 1024 * 1024 * 1024
    busy_poll_s: float = 0.0003
    receive_batch: int = DEFAULT_BATCH
    high_water_mark: int = DEFAULT_HWM
    io_threads: int = 1
    gc_threshold: int | None = None
    log_level: str = "info"
    log_format: str = "text"
    majordomo: str = ""
    majordomo_heartbeat_s: float = 2.5
    key_file: str | None = None
    authorized_file: str | None = None
    insecure: bool = False
    http_token_file: str | None = None
    max_connections: int = 20_000
    max_connections_per_address: int = 4096
    memory_limit_bytes: int | None = None
    parent: int | None = None

    def route(self, command: str) -> str | None:
        """The pool that the routing table names for a command."""
        return next((pool for pattern, pool in self.routing if fnmatchcase(command, pattern)), None)

    def client(self, name: str) -> ClientSettings:
        """What a client of this name is given."""
        return next((given for pattern, given in self.given if fnmatchcase(name, pattern)), ClientSettings())

    def core(
        self, software: str, clock: str = "", clock_ahead_s: float = 0.0, policy: Policy | None = None
    ) -> CoreSettings:
        """The core's share of it, for one life of the broker. `clock` and by how much it is ahead: see `CoreSettings`."""
        pools: Mapping[str, PoolSettings] = {pool.name: pool for pool in self.pools}
        return CoreSettings(
            epoch=os.urandom(16),
            pools=pools,
            route=self.route,
            heartbeat_interval_s=self.heartbeat_interval_s,
            heartbeat_liveness=self.heartbeat_liveness,
            drain_timeout_s=self.drain_timeout_s,
            max_message_bytes=self.max_message_bytes,
            max_queued_bytes=self.max_queued_bytes,
            client=self.client,
            policy=policy or Policy(),
            majordomo_heartbeat_s=self.majordomo_heartbeat_s,
            clock=clock,
            clock_ahead_s=clock_ahead_s,
            software=software,
        )
