"""What the core has to know of the configuration, in its own terms: seconds, counts, no files."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct

from maitred.protocol import limits


class PoolSettings(Struct, frozen=True):
    """One pool. `timeout_s` is the deadline of requests that bring none, `max_queue` bounds queued + held requests."""

    name: str
    timeout_s: float = 30.0
    max_queue: int = 1000
    max_attempts: int = 3


class CoreSettings(Struct, frozen=True):
    """The broker. Both heartbeat figures go to every peer with WELCOME."""

    epoch: bytes
    pools: Mapping[str, PoolSettings]
    route: Callable[[str], str | None]
    heartbeat_interval_s: float = 1.0
    heartbeat_liveness: int = 3
    client_silence_s: float = 30.0
    """A client that waits for replies may be silent for so long (a debugger, a C call) before its work is given up."""
    idle_client_s: float = 300.0
    """A client that waits for nothing is forgotten after this; it says HELLO again without noticing."""
    drain_timeout_s: float = 30.0
    max_message_bytes: int = limits.MAX_MESSAGE_BYTES
    max_clients: int = 65_536
    """Connections that said HELLO: about 1 KiB each; one more is answered `unavailable`."""
    software: str = "maitred"

    @property
    def worker_silence_s(self) -> float:
        """How long a worker or an agent may be silent before it is suspected."""
        return self.heartbeat_interval_s * self.heartbeat_liveness
