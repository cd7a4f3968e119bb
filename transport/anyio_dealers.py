"""What a client talks to its broker by under anyio: over libzmq, or without it (see `dealers`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import zmq

from maitred.transport.anyio_dealer import AnyioDealer
from maitred.transport.anyio_stream import AnyioStream
from maitred.transport.dealers import connected_dealer, is_direct

__all__ = ["AsyncDealer", "open_anyio_dealer"]

AsyncDealer: TypeAlias = AnyioDealer | AnyioStream


def open_anyio_dealer(
    endpoint: str,
    make_context: Callable[[], zmq.Context[zmq.Socket[bytes]]],
    linger_ms: int,
    on_portion: Callable[[], None],
) -> AsyncDealer:
    """Begin to connect; an absent broker is no error.

    Raises:
        ConnectError: the endpoint itself is wrong.
        ValueError: see `dealers.is_direct`.
    """
    if is_direct(endpoint):
        return AnyioStream(endpoint, linger_ms=linger_ms, on_portion=on_portion)
    return AnyioDealer(connected_dealer(endpoint, make_context, linger_ms), on_portion=on_portion)
