"""A broker tries its own doors before it says that it listens: a mistake here shows only when somebody has come in.

    tcp://, with keys     a key that nobody knows must be refused; without a key nobody must get through
    ipc://                this process must get in, after the handler was asked, and the core must be told who it is

libzmq lets everybody in where nobody answers for a socket, so that none of this is taken for granted. It runs in a thread,
in a context of its own, while the broker's loop answers; it knows no more of the broker than any peer does.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import zmq

from maitred.broker.core.effects import Side
from maitred.broker.doors import domain_of
from maitred.broker.ports import Ports
from maitred.config.key_file import KeyFile
from maitred.protocol import frames, messages
from maitred.protocol.errors import ProtocolError
from maitred.transport.sockets import connect, dealer

__all__ = ["TRIAL_S", "new_key", "try_doors"]

TRIAL_S = 10.0
"""All of it together; on an idle machine it takes some milliseconds. Whoever waits for a broker waits for twice as long."""

IN, REFUSED, CUT = "was let in", "was refused", "was cut off"

_EVENT = struct.Struct("=HI")
"""Number and value of a monitor's event."""

_OUTCOMES = {
    int(zmq.EVENT_HANDSHAKE_SUCCEEDED): IN,
    int(zmq.EVENT_HANDSHAKE_FAILED_AUTH): REFUSED,
    int(zmq.EVENT_DISCONNECTED): CUT,
}


def new_key(server: str) -> KeyFile:
    """A key that nobody has seen, for the broker whose public key is `server`."""
    public, secret = zmq.curve_keypair()
    return KeyFile(public.decode(), secret.decode(), server)


def try_doors(ports: Ports, stranger: KeyFile | None, secret: str) -> str | None:
    """Try every endpoint. Blocks, for `TRIAL_S` at most.

    Args:
        ports: what is bound; only its endpoints are used.
        stranger: a key that is not authorised, for the broker's own; None: there are no keys.
        secret: that of the run directory.

    Returns:
        None where all is well, or a sentence that says what is not.
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    give_up_at = time.monotonic() + TRIAL_S
    try:
        for side, endpoints in ports.endpoints.items():
            for endpoint in endpoints:
                problem = _try_one(context, side, endpoint, stranger, secret, give_up_at)
                if problem is not None:
                    return (
                        f"the self-test failed at {endpoint} ({domain_of(side)}): {problem}; the broker does not start"
                    )
        return None
    finally:
        context.destroy(linger=0)


def _try_one(
    context: zmq.Context[Any], side: Side, endpoint: str, stranger: KeyFile | None, secret: str, give_up_at: float
) -> str | None:
    if endpoint.startswith("ipc://"):
        greets = side is Side.CLIENTS
        return _try_local(context, endpoint, secret if greets else None, give_up_at)
    if stranger is None:
        return None  # whoever reaches it may come in
    reached = _reachable(endpoint)
    outcome = _outcome(context, reached, stranger, (IN, REFUSED), give_up_at)
    if outcome != REFUSED:
        return f"a key that nobody has authorised {outcome}"
    outcome = _outcome(context, reached, None, (IN, REFUSED, CUT), give_up_at)
    return f"somebody without a key {outcome}" if outcome not in (CUT, REFUSED) else None


def _outcome(
    context: zmq.Context[Any], endpoint: str, key: KeyFile | None, wanted: Sequence[str], give_up_at: float
) -> str:
    with _connected(context, endpoint, key) as (_, monitor):
        return _first(monitor, wanted, give_up_at)


def _try_local(context: zmq.Context[Any], endpoint: str, secret: str | None, give_up_at: float) -> str | None:
    with _connected(context, endpoint, None) as (socket, monitor):
        outcome = _first(monitor, (IN, REFUSED), give_up_at)
        if outcome != IN:
            return f"the broker's own user {outcome}"
        if secret is None or _greeted(socket, secret, give_up_at):
            return None
        return "the broker's own user got in, and was not known to the broker"


@contextmanager
def _connected(context: zmq.Context[Any], endpoint: str, key: KeyFile | None) -> Generator[tuple[Any, Any]]:
    socket = dealer(context, key=key, linger_ms=0)
    monitor = socket.get_monitor_socket()
    try:
        connect(socket, endpoint)
        yield socket, monitor
    finally:
        socket.disable_monitor()
        monitor.close(0)
        socket.close(0)


def _first(monitor: Any, wanted: Sequence[str], give_up_at: float) -> str:
    """The first of the wanted outcomes that the monitor tells of. Others are tried again by libzmq itself."""
    while monitor.poll(_left_ms(give_up_at)):
        number, _ = _EVENT.unpack(monitor.recv_multipart()[0])
        outcome = _OUTCOMES.get(number, "")
        if outcome in wanted:
            return outcome
    return "heard nothing in time"


def _greeted(socket: Any, secret: str, give_up_at: float) -> bool:
    """Whether the broker knows whose connection it is: it refuses HELLO where libzmq does not tell it."""
    if not socket.poll(_left_ms(give_up_at), zmq.POLLOUT):
        return False
    hello = messages.Hello(os.urandom(16), software="maitred self-test", pid=os.getpid(), secret=secret)
    socket.send_multipart(frames.encode(hello))
    if not socket.poll(_left_ms(give_up_at)):
        return False
    try:
        answer, _ = frames.to_client.decode(socket.recv_multipart())
    except ProtocolError:
        return False
    socket.send_multipart(frames.encode(messages.Bye()))
    return isinstance(answer, messages.Welcome)


def _reachable(endpoint: str) -> str:
    """Where an endpoint that listens everywhere is reached from this host."""
    return endpoint.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


def _left_ms(give_up_at: float) -> int:
    return max(0, int((give_up_at - time.monotonic()) * 1000))
