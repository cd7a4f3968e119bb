"""Real sockets for the transport's tests: a context that always ends, and pairs that are known to be connected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import zmq

from maitred.transport.sockets import bind, connect, dealer, router

ANSWER_WITHIN_MS = 5000


@dataclass
class Pair:
    """A ROUTER and a DEALER, connected; `peer` is the DEALER's routing id at the ROUTER."""

    router: zmq.Socket[bytes]
    dealer: zmq.Socket[bytes]
    peer: bytes
    endpoint: str


class KeepingContext(zmq.Context):
    """Keeps every socket until it is destroyed: a socket collected while open is a warning, and so an error."""

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        object.__setattr__(self, "kept", [])

    def socket(self, *arguments, **options):
        made = super().socket(*arguments, **options)
        self.kept.append(made)
        return made


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    context = KeepingContext()
    yield context
    context.destroy(linger=0)


@pytest.fixture
def join(
    context: zmq.Context[zmq.Socket[bytes]],
) -> Callable[[zmq.Socket[bytes], str], tuple[zmq.Socket[bytes], bytes]]:
    """Connect one more DEALER to a ROUTER that nobody owns yet."""

    def join(bound: zmq.Socket[bytes], endpoint: str, **options: int) -> tuple[zmq.Socket[bytes], bytes]:
        socket = dealer(context, **options)
        connect(socket, endpoint)
        assert socket.poll(ANSWER_WITHIN_MS, zmq.POLLOUT)  # IMMEDIATE: connected
        socket.send(b"hello")
        assert bound.poll(ANSWER_WITHIN_MS)
        peer, _ = bound.recv_multipart()
        return socket, peer

    return join


@pytest.fixture
def make_pair(context: zmq.Context[zmq.Socket[bytes]], join: Callable[..., tuple[zmq.Socket[bytes], bytes]]):
    def make(**options: int) -> Pair:
        bound = router(context, zap_domain="maitred-test", **options)
        endpoint = bind(bound, "tcp://127.0.0.1:0")
        socket, peer = join(bound, endpoint, **options)
        return Pair(bound, socket, peer, endpoint)

    return make


@pytest.fixture
def pair(make_pair: Callable[[], Pair]) -> Pair:
    return make_pair()
