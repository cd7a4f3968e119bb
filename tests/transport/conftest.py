"""Real sockets for the transport's tests: a context that always ends, and pairs that are known to be connected."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
import zmq

from maitred.transport.sockets import bind, connect, dealer, router

ANSWER_WITHIN_MS = 5000

# A peer in a process of its own, which sends back whatever comes except noise. Not a thread: while the test's loop is
# busy, a thread waits 5 ms for the interpreter at every call.
ECHO = """
import sys, zmq
from maitred.transport.sockets import bind, connect, dealer, router
kind, endpoint = sys.argv[1:]
context = zmq.Context()
if kind == "dealer":
    socket = dealer(context)
    connect(socket, endpoint)
    socket.poll(flags=zmq.POLLOUT)
    socket.send(b"hello")
else:
    socket = router(context, zap_domain="maitred-test", handled=False)
    print(bind(socket, endpoint), flush=True)
while True:
    frames = socket.recv_multipart()
    if frames[-1] != b"noise":
        socket.send_multipart(frames)
"""


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
        bound = router(context, zap_domain="maitred-test", handled=False, **options)
        endpoint = bind(bound, "tcp://127.0.0.1:0")
        socket, peer = join(bound, endpoint, **options)
        return Pair(bound, socket, peer, endpoint)

    return make


@pytest.fixture
def pair(make_pair: Callable[[], Pair]) -> Pair:
    return make_pair()


@pytest.fixture
def start_echo():
    """Start the echoing peer: of kind "dealer", connected to an endpoint, or "router", bound to it."""
    with ExitStack() as stack:

        def start(kind: str, endpoint: str) -> subprocess.Popen[bytes]:
            process = subprocess.Popen([sys.executable, "-c", ECHO, kind, endpoint], stdout=subprocess.PIPE)
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start
