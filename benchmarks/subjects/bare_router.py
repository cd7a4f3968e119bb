"""A libzmq ROUTER with nothing behind it: what connections cost before a broker has kept a word of them.

It has the options of maitred's own ROUTER, and answers each message, so that whoever connects knows that it is connected.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Generator
from typing import NoReturn

import msgspec
import zmq
from msgspec import Struct

from maitred.benchmarks.subjects.child import report, settings
from maitred.benchmarks.subjects.protocol import StartError, Transport
from maitred.launcher.processes import ChildProcess
from maitred.transport.sockets import bind, router

__all__ = ["BareRouter", "bare_router", "serve"]

START_TIMEOUT_S = 20.0
"""Within this the process has to say where it listens."""


class BareRouter(Struct, frozen=True):
    """Where it listens, and its process id, 0 before it runs."""

    endpoint: str
    pid: int = 0


@contextlib.contextmanager
def bare_router(transport: Transport) -> Generator[BareRouter]:
    """One in a process of its own.

    Raises:
        StartError: it did not start.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        wanted = BareRouter(f"ipc://{directory}/router" if transport == "ipc" else "tcp://127.0.0.1:*")
        process = ChildProcess("maitred.benchmarks.subjects.bare_router", "serve", wanted, reports=True)
        try:
            line = process.read_report(START_TIMEOUT_S)
            if not line:
                raise StartError("the bare ROUTER did not start")
            yield BareRouter(msgspec.json.decode(line, type=BareRouter).endpoint, process.pid)
        finally:
            process.kill()
            process.wait()


def serve() -> NoReturn:
    """Be that process."""
    told = settings(BareRouter)
    socket = router(zmq.Context(), zap_domain="bench", handled=False)
    report(BareRouter(bind(socket, told.endpoint)))
    while True:
        peer = socket.recv_multipart()[0]
        with contextlib.suppress(zmq.ZMQError):  # it has gone
            socket.send_multipart([peer, b""])
