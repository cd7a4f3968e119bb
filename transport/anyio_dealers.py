"""What a client talks to its broker by under anyio: over libzmq, or without it (see `dealers`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import zmq

from maitred.config.key_file import KeyFile
from maitred.transport.anyio_dealer import AnyioDealer
from maitred.transport.anyio_stream import AnyioStream
from maitred.transport.dealers import connected_dealer, is_direct
from maitred.transport.refusals import DirectRefusals, Refusals

__all__ = ["AsyncDealer", "open_anyio_dealer"]

AsyncDealer: TypeAlias = AnyioDealer | AnyioStream


def open_anyio_dealer(
    endpoint: str,
    make_context: Callable[[], zmq.Context[zmq.Socket[bytes]]],
    linger_ms: int,
    on_portion: Callable[[], None],
    key: KeyFile | None = None,
) -> tuple[AsyncDealer, Refusals]:
    """Begin to connect; an absent broker is no error. Also gives what tells whether this peer is let in.

    Raises:
        ConnectError: the endpoint itself is wrong.
        ValueError: see `dealers.is_direct`.
    """
    if is_direct(endpoint, key):
        stream = AnyioStream(endpoint, linger_ms=linger_ms, on_portion=on_portion)
        return stream, DirectRefusals(stream.dealer, endpoint)
    socket, refusals = connected_dealer(endpoint, make_context, key, linger_ms)
    return AnyioDealer(socket, on_portion=on_portion, watched=refusals.fileno()), refusals
