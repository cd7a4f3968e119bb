"""Somebody who connects, and what becomes of his handshake as his own socket's monitor tells it."""

from __future__ import annotations

import time
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from maitred.config.key_file import KeyFile

PATIENCE_S = 5.0

IN, CUT, SILENCE = "in", "cut", "silence"
"""Let in; disconnected without a reason; nothing within the time. Refused ones are told a number."""


def new_key(server: str = "") -> KeyFile:
    public, secret = zmq.curve_keypair()
    return KeyFile(public.decode(), secret.decode(), server)


def outcome(endpoint: str, key: KeyFile | None = None, patience_s: float = PATIENCE_S, **options: Any) -> str | int:
    """What becomes of one connection from another context: IN, CUT, SILENCE, or the status that it was refused with."""
    from maitred.transport.sockets import connect, dealer

    context: zmq.Context[Any] = zmq.Context()
    socket = dealer(context, key=key, linger_ms=0)
    monitor = socket.get_monitor_socket()
    try:
        for name, value in options.items():
            setattr(socket, name, value)
        connect(socket, endpoint)
        give_up_at = time.monotonic() + patience_s
        while monitor.poll(max(0, give_up_at - time.monotonic()) * 1000):
            event = recv_monitor_message(monitor)
            match event["event"]:
                case zmq.EVENT_HANDSHAKE_SUCCEEDED:
                    return IN
                case zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                    return int(event["value"])
                case zmq.EVENT_DISCONNECTED:
                    return CUT
        return SILENCE
    finally:
        socket.disable_monitor()
        monitor.close(0)
        context.destroy(linger=0)
