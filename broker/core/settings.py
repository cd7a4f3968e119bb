"""What the core has to know of the configuration, in its own terms: seconds, counts, no files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from maitred.broker.core.effects import Event
from maitred.broker.core.policy import Policy
from maitred.protocol import limits
from maitred.protocol.messages import STRICT


class PoolSettings(Struct, frozen=True):
    """One pool.

    Attributes:
        name: users call it by it.
        timeout_s: the deadline of requests that bring none.
        max_queue: bounds the requests that are queued or held.
        max_attempts: runs of an idempotent request in all.
        max_queue_bytes: bounds the bytes of their arguments; a single request larger than this is admitted where there
            is no other.
        kill_grace_s: between the exception raised in a function and the end of its process.
        kill_on_cancel: whether a caller's cancellation or deadline may end a process; None: where it runs one request
            at a time, so that no other request is hurt.
        quarantine_after: deaths in a row of which a request is refused.
        session_ttl_s: of sessions whose opener names none.
        max_sessions: bounds those that are open.
        max_snapshot_bytes: of one session; a larger one is not kept, so that the session cannot move.
        affinity: of sessions whose opener names none.
        health_check_interval_s: how often an idle worker is checked, and the pool's health is told.
        scale_up_after_s: age of the oldest waiting request from which the pool grows, where it may.
        scale_down_after_s: for how long a worker was not needed when the pool shrinks by it.
        scale_cooldown_s: between two changes of size.
        drain_timeout_s: how long a worker that is to go keeps its requests and sessions.
        majordomo_command: what a request of Majordomo's protocol calls; None: its first body frame says so.
        majordomo_body: what its body is: "msgpack" (one frame: the arguments) or "raw" (any frames).
        memory_limit_bytes: of one worker, which its agent keeps: for those who watch. None: there is none.
    """

    name: str
    timeout_s: float = 30.0
    max_queue: int = 1000
    max_attempts: int = 3
    max_queue_bytes: int = 256 * 1024 * 1024
    kill_grace_s: float = 2.0
    kill_on_cancel: bool | None = None
    quarantine_after: int = 3
    session_ttl_s: float = 3600.0
    max_sessions: int = 10_000
    max_snapshot_bytes: int = 64 * 1024 * 1024
    affinity: int = STRICT
    health_check_interval_s: float = 30.0
    scale_up_after_s: float = 0.5
    scale_down_after_s: float = 60.0
    scale_cooldown_s: float = 1.0
    drain_timeout_s: float = 30.0
    majordomo_command: str | None = None
    majordomo_body: str = "msgpack"
    memory_limit_bytes: int | None = None


class ClientSettings(Struct, frozen=True):
    """What a client is given.

    Attributes:
        weight: requests that it has served in its turn.
        max_in_flight: requests unanswered at a time.
        max_sessions: sessions open at a time.
    """

    weight: int = 1
    max_in_flight: int | None = None
    max_sessions: int | None = None


def _alike(_name: str) -> ClientSettings:
    return ClientSettings()


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
    max_queued_bytes: int = 1024 * 1024 * 1024
    """Arguments of all requests that are queued or held, in all pools."""
    client: Callable[[str], ClientSettings] = _alike
    """What a client of this name is given."""
    policy: Policy = Policy()
    """Who may do what, at first: `BrokerCore.adopt` changes it."""
    majordomo_heartbeat_s: float = 2.5
    """How often a peer that speaks Majordomo's protocol and waits for work says that it lives, and is told so."""
    clock: str = ""
    """Names the monotonic clock that workers of this host read too; "": there is none."""
    clock_ahead_s: float = 0.0
    """That clock less the core's."""
    software: str = "maitred"
    recent: Callable[[int], Sequence[Event]] = lambda _: ()
    """The events that are kept, above a number."""
    tracing: bool = False
    """Whether spans of traced requests are made here; their traces are passed on in any case."""

    @property
    def worker_silence_s(self) -> float:
        """How long a worker or an agent may be silent before it is suspected."""
        return self.heartbeat_interval_s * self.heartbeat_liveness
