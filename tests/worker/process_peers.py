"""Workers in processes of their own, as an agent starts them, and the scripted broker of `worker_peers` for them."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import zmq
from worker_peers import Broker

from maitred.protocol.limits import MAX_SLOTS
from maitred.worker import process
from maitred.worker.options import Inherited, WorkerOptions
from maitred.worker.started_page import StartedPage

__all__ = ["APP", "PATIENCE_S", "WorkerProcess", "a_process", "eventually", "socket_of"]

APP = Path(__file__).with_name("process_app.py")
PATIENCE_S = 30.0


class WorkerProcess:
    """One worker.

    Attributes:
        broker: the test's.
        page: its started page.
        gate: the writing end of its gate, where it has one; the test closes it.
    """

    def __init__(self, folder: Path, router: zmq.Socket[bytes], service: str, *, gated: bool, **options: Any) -> None:
        self._notes = folder / "notes"
        self.broker = Broker(router)
        self.page = StartedPage(MAX_SLOTS)
        self._output, of_child = os.pipe()
        given = [of_child]
        self.gate = -1
        if gated:
            gate_of_child, self.gate = os.pipe()
            given.append(gate_of_child)
            options["gate"] = Inherited(gate_of_child)
        told = WorkerOptions(
            "general", f"{APP}:{service}", (), endpoint_in(folder), os.urandom(16),
            started=self.page, output=Inherited(of_child), **options,
        )  # fmt: skip
        self._process = multiprocessing.get_context("spawn").Process(target=process.main, args=(told,))
        os.environ["PROCESS_APP_NOTES"] = str(self._notes)
        try:
            self._process.start()
        finally:
            del os.environ["PROCESS_APP_NOTES"]
            for descriptor in given:
                os.close(descriptor)
        self.pid = self._process.pid or 0

    def notes(self) -> list[str]:
        """What its functions said so far."""
        return self._notes.read_text().splitlines() if self._notes.exists() else []

    def ends_with(self) -> int | None:
        """Its exit code; None: it does not end."""
        self._process.join(PATIENCE_S)
        return self._process.exitcode

    def output(self) -> str:
        """All that it printed; it has ended."""
        with open(self._output, closefd=False) as file:
            return file.read()

    def close(self) -> None:
        self._process.kill()
        self._process.join()
        self._process.close()
        with suppress(OSError):  # the test may have closed it
            os.close(self.gate)
        os.close(self._output)
        self.page.close()


def endpoint_in(folder: Path) -> str:
    """Where the broker is."""
    return f"ipc://{folder}/broker"


@contextmanager
def socket_of(folder: Path) -> Iterator[zmq.Socket[bytes]]:
    """The broker's."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    router = context.socket(zmq.ROUTER)
    try:
        router.bind(endpoint_in(folder))
        yield router
    finally:
        context.destroy(linger=0)


@contextmanager
def a_process(folder: Path, service: str = "plain", *, gated: bool = False, **options: Any) -> Iterator[WorkerProcess]:
    """One that runs a service of `process_app`, with these options besides."""
    with socket_of(folder) as router:
        worker = WorkerProcess(folder, router, service, gated=gated, **options)
        try:
            yield worker
        finally:
            worker.close()


def eventually(condition: Callable[[], object]) -> None:
    """Wait for it."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)
