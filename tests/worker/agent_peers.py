"""An agent as a process of its own, its real workers, and a broker in the test's hands: a ROUTER that speaks the protocol.

Shared by the tests of the agent. The broker welcomes whoever comes, notes what the agent says, and orders what the test
says; it gives the workers nothing to do.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil
import zmq

from maitred.launcher.processes import ChildProcess, start_agent
from maitred.protocol import frames, messages
from maitred.worker.agent_settings import AgentSettings

PATIENCE_S = 30.0
"""For what takes tens of milliseconds on a machine that has nothing else to do."""

_M = TypeVar("_M", bound=messages.Message)


class Broker:
    """The ROUTER. `said` is all that the agent has said, but for vouching; `registered` the workers that
    know that they are welcome."""

    def __init__(self, directory: Path) -> None:
        self.endpoint = f"ipc://{directory}/workers.ipc"
        self._context = zmq.Context[zmq.Socket[bytes]]()
        self._open()
        self.epoch = os.urandom(16)
        self.said: list[Any] = []
        self.registered: dict[bytes, int] = {}
        self._registering: dict[bytes, int] = {}
        self._known: set[bytes] = set()
        self._agent = b""

    def _open(self) -> None:
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.bind(self.endpoint)

    def restart(self) -> None:
        """Be a broker that knows nobody."""
        self.epoch = os.urandom(16)
        self._known.clear()

    def close(self) -> None:
        self._socket.close()
        self._context.term()

    def order(self, message: messages.Message) -> None:
        self._socket.send_multipart([self._agent, *frames.encode(message)])

    def pump(self, timeout_s: float = 0.02) -> None:
        """Take in what has come."""
        while self._socket.poll(int(timeout_s * 1000)):
            peer, *message = self._socket.recv_multipart()
            self._receive(peer, frames.from_worker.decode(message)[0])
            timeout_s = 0

    def _receive(self, peer: bytes, message: Any) -> None:
        match message:
            case messages.Agent():
                self._agent = peer
                self.said.append(message)
                self._welcome(peer)
            case messages.Register():
                self._registering[message.worker] = message.pid
                self._welcome(peer)
            case _ if peer not in self._known and not isinstance(message, messages.Attach):
                self._socket.send_multipart([peer, *frames.encode(messages.Stranger())])
            case messages.Vouch() | messages.Beat():
                self._socket.send_multipart([peer, *frames.encode(messages.Heartbeat())])
            case messages.Attach():  # after WELCOME: the worker is ready
                self._known.add(peer)
                self.registered |= {message.worker: self._registering.pop(message.worker)}
            case _:
                self.said.append(message)

    def _welcome(self, peer: bytes) -> None:
        self._known.add(peer)
        self._socket.send_multipart([peer, *frames.encode(messages.Welcome(self.epoch, 0.1, 50, 1 << 20))])

    # --- what a test asks ---

    def all(self, kind: type[_M]) -> list[_M]:
        return [message for message in self.said if isinstance(message, kind)]

    def died(self, worker: bytes) -> messages.Died | None:
        return next((death for death in self.all(messages.Died) if death.worker == worker), None)

    def until(self, condition: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
        """Go on until something is true; returns it."""
        give_up_at = time.monotonic() + patience_s
        while not (it := condition()):
            assert time.monotonic() < give_up_at, f"it never came true; the agent said: {self.said}"
            self.pump()
        return it

    def ready(self, count: int) -> list[bytes]:
        """Wait until so many workers have registered that live."""
        return self.until(lambda: alive if len(alive := self.alive()) >= count else None)

    def let_in(self) -> list[bytes]:
        """The same, with those whose ATTACH, by a connection of its own, has not come yet."""
        return [worker for worker in (*self.registered, *self._registering) if self.died(worker) is None]

    def alive(self) -> list[bytes]:
        return [worker for worker in self.registered if self.died(worker) is None]


@contextlib.contextmanager
def agent(broker: Broker, adapter: str, size: int = 1, **settings: Any) -> Iterator[ChildProcess]:
    """An agent; afterwards it and all its descendants are gone."""
    wanted = dict[str, Any](path=(os.getcwd(), *sys.path), parent=os.getpid(), drain_timeout_s=10.0) | settings
    process = start_agent(AgentSettings("general", adapter, broker.endpoint, size, **wanted))
    try:
        yield process
    finally:
        process.force()
        try:
            process.wait(PATIENCE_S)
        finally:
            process.kill()


def gone(*pids: int) -> bool:
    """Whether none of these lives; a zombie does not."""
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                return False
    return True
