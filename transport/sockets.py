"""ROUTER and DEALER sockets with every option set that maitred relies on, and the reason for each.

Neither binds nor connects here (`endpoints.py` does). libzmq takes most options at that moment, CURVE's too, so that one
ROUTER can be bound to `ipc://` without keys, `secure`d, and bound to `tcp://` with them. Imports no event loop.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import zmq

from maitred.protocol import limits
from maitred.transport.endpoints import bind, connect

if TYPE_CHECKING:
    from maitred.config.key_file import KeyFile

__all__ = [
    "DEALER_LINGER_MS",
    "DEFAULT_HWM",
    "DEFAULT_MAX_FRAME_BYTES",
    "ROUTER_LINGER_MS",
    "bind",
    "connect",
    "dealer",
    "router",
    "secure",
]

DEFAULT_HWM = 64
"""Messages queued for one peer in each direction, before a send says `WouldBlock`. Small, so that pressure is felt at
once and the memory of one slow peer is bounded; large enough to fill a pipe between two turns of the owner."""

DEFAULT_MAX_FRAME_BYTES = limits.MAX_MESSAGE_BYTES
"""Bytes in one frame; libzmq cuts off a peer that announces more. It is per frame: `Inbox` bounds the frames. As large as
a whole message may be, since one value may be all of it: senders check before they send and say what was too large."""

DEALER_MAX_FRAME_BYTES = 4 * 1024**3
"""The same for what a broker sends, which may be configured to pass on larger messages than the default."""

ROUTER_LINGER_MS = 2000
"""Time for the last answers (a drain's refusals) to leave after closing. libzmq's default is for ever."""

DEALER_LINGER_MS = 500
"""Time for the last message to leave. Shorter than the ROUTER's: a client that ends should end."""

HANDSHAKE_TIMEOUT_MS = 4000
"""A peer that connects and says nothing is cut off; libzmq's 30 s would let idle connections use up descriptors."""

HEARTBEAT_INTERVAL_MS = 5000
"""ZMTP's own ping of a DEALER, which finds a broker that vanished without a word. A ROUTER answers it and sends none: who
reads his connection himself (`stream_dealer`) reads nothing while he runs a function, and is judged by ours."""

HEARTBEAT_TIMEOUT_MS = 30_000
"""Silence after which the connection is cut. A frame counts only when all of it has come, so this must be longer than
the largest frame takes: 64 MiB at 20 Mbit/s take 27 s. Liveness itself is judged by maitred's heartbeats, not these."""

KEEPALIVE_IDLE_S = 30
KEEPALIVE_INTERVAL_S = 10
KEEPALIVE_PROBES = 3
"""TCP's own probes: a dead peer is seen after a minute, even one too old for ZMTP heartbeats; NAT tables stay warm."""

LISTEN_BACKLOG = 1024
"""Connections waiting to be accepted. After a restart everyone reconnects at once; libzmq's 100 would make them wait
for TCP's retries (1 s and more)."""

CONNECT_TIMEOUT_MS = 3000
"""One attempt to connect. The kernel's own limit is two minutes, and no further attempt begins before it."""

RECONNECT_FIRST_MS = (50, 150)
"""Range of the first pause before reconnecting. libzmq has no jitter when its back-off is on, so each socket draws."""

RECONNECT_LIMIT_MS = (2000, 4000)
"""Range of the longest pause; it doubles up to there. Drawn too, or all would end in step."""


def router(
    context: zmq.Context[zmq.Socket[bytes]],
    *,
    zap_domain: str,
    handled: bool = True,
    hwm: int = DEFAULT_HWM,
    max_frame_bytes: int = DEFAULT_MAX_FRAME_BYTES,
    linger_ms: int = ROUTER_LINGER_MS,
) -> zmq.Socket[bytes]:
    """Make a ROUTER, not yet bound.

    Args:
        context: the process's context, made after any fork.
        zap_domain: a name for this side, never empty. Without a domain libzmq 4.3.5 can abort when it closes amid a
            ZMTP/1.0 greeting, and CURVE lets anyone in.
        handled: whether the context has a handler of handshakes (`zap`), without which every connection is refused.
            False lets everybody in where it has none: for tests and measurements.
        hwm: messages queued for each peer, each way.
        max_frame_bytes: a peer that sends a larger frame is disconnected.
        linger_ms: how long unsent messages may leave after closing.

    Raises:
        ValueError: the ZAP domain is empty.
    """
    if not zap_domain:
        raise ValueError("the ZAP domain of a ROUTER must have a name")
    socket = context.socket(zmq.ROUTER)
    # Without it, messages to an unknown peer or over the high-water mark vanish without an error.
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    # A second connection with a taken identity is refused rather than given its messages. The identities that libzmq
    # makes itself never collide.
    socket.setsockopt(zmq.ROUTER_HANDOVER, 0)
    socket.setsockopt(zmq.ZAP_DOMAIN, zap_domain.encode())
    # Without it libzmq lets everybody in, with any key, where the handler is missing.
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, int(handled))
    socket.setsockopt(zmq.BACKLOG, LISTEN_BACKLOG)
    _common(socket, hwm, max_frame_bytes, linger_ms)
    return socket


def secure(socket: zmq.Socket[bytes], key: KeyFile) -> None:
    """Have what a ROUTER is bound to from here on ask for CURVE, as the owner of this key; what it is bound to stays."""
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_SECRETKEY, key.secret.encode())


def unsecure(socket: zmq.Socket[bytes]) -> None:
    """Take that back, for what a ROUTER is bound to from here on: NULL, by which the kernel's word on a peer counts."""
    socket.setsockopt(zmq.CURVE_SERVER, 0)


def dealer(
    context: zmq.Context[zmq.Socket[bytes]],
    *,
    key: KeyFile | None = None,
    hwm: int = DEFAULT_HWM,
    max_frame_bytes: int = DEALER_MAX_FRAME_BYTES,
    linger_ms: int = DEALER_LINGER_MS,
    heartbeat_timeout_ms: int = HEARTBEAT_TIMEOUT_MS,
    zap_domain: str | None = None,
) -> zmq.Socket[bytes]:
    """Make a DEALER, not yet connected.

    Args:
        context: the process's context, made after any fork.
        key: whose key to show, and the one that the broker must have; for `tcp://` only, as `ipc://` goes by the kernel.
        hwm: messages queued each way.
        max_frame_bytes: a broker that sends a larger frame is disconnected.
        linger_ms: how long unsent messages may leave after closing.
        heartbeat_timeout_ms: silence after which the connection is cut and made anew.
        zap_domain: none by default: in a context with a ZAP handler it would be asked about the *broker*.
    """
    socket = context.socket(zmq.DEALER)
    # Queue for completed connections only: otherwise requests pile up for a broker that is not there, and are sent
    # late, to another epoch of it.
    socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.setsockopt(zmq.CONNECT_TIMEOUT, CONNECT_TIMEOUT_MS)
    draw = random.SystemRandom()  # not the shared generator: forked workers would all draw the same
    socket.setsockopt(zmq.RECONNECT_IVL, draw.randint(*RECONNECT_FIRST_MS))
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, draw.randint(*RECONNECT_LIMIT_MS))
    if zap_domain:
        socket.setsockopt(zmq.ZAP_DOMAIN, zap_domain.encode())
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_INTERVAL_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, heartbeat_timeout_ms)
    # What we ask the other end to wait for us: the same, as it may be the one that is cut off.
    socket.setsockopt(zmq.HEARTBEAT_TTL, heartbeat_timeout_ms)
    if key is not None:
        socket.setsockopt(zmq.CURVE_SERVERKEY, key.server.encode())
        socket.setsockopt(zmq.CURVE_PUBLICKEY, key.public.encode())
        socket.setsockopt(zmq.CURVE_SECRETKEY, key.secret.encode())
    _common(socket, hwm, max_frame_bytes, linger_ms)
    return socket


def _common(socket: zmq.Socket[bytes], hwm: int, max_frame_bytes: int, linger_ms: int) -> None:
    socket.setsockopt(zmq.SNDHWM, hwm)
    socket.setsockopt(zmq.RCVHWM, hwm)
    socket.setsockopt(zmq.LINGER, linger_ms)
    socket.setsockopt(zmq.MAXMSGSIZE, max_frame_bytes)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_TIMEOUT_MS)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, KEEPALIVE_IDLE_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, KEEPALIVE_INTERVAL_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, KEEPALIVE_PROBES)
