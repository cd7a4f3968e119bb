"""One request in a worker, from the order to the answer; what the two loops (plain and trio) have in common."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from maitred.protocol import limits
from maitred.protocol.frames import Frames
from maitred.protocol.messages import CommandInfo, Dispatch, Welcome
from maitred.protocol.worker import Held
from maitred.worker import answers
from maitred.worker.calling import Calls
from maitred.worker.context import AsyncCaller, Context
from maitred.worker.options import WorkerOptions
from maitred.worker.running import Run, Running
from maitred.worker.service import Command, Service
from maitred.worker.started_page import StartedPage

__all__ = ["Requests"]


class Requests:
    """What a worker has to know to serve a request.

    Args:
        options: the worker's.
        service: its commands.
    """

    def __init__(self, options: WorkerOptions, service: Service) -> None:
        self.service = service
        self.running = Running(Held())
        self.calls = Calls(options.clients_endpoint) if options.clients_endpoint else None
        self.page = options.started or StartedPage(options.slots + options.prefetch)
        self.max_message_bytes = limits.MAX_MESSAGE_BYTES
        self._pool = options.pool
        self._worker_id = options.worker.hex()

    def welcomed(self, welcome: Welcome) -> None:
        """The broker's terms."""
        self.max_message_bytes = welcome.max_message

    def take(self, order: Dispatch, acall: AsyncCaller | None = None) -> Run | None:
        """Begin with a request: from here on it can be cancelled. `acall`: its way out under trio. None: recalled."""
        calls = self.calls
        command = self.service.commands.get(order.command)
        under_trio = acall is not None and command is not None and command.is_async  # a plain one holds the loop anyway

        def call(pool: str | None, command: str, args: dict[str, Any] | None, timeout: float | None) -> Any:
            assert calls is not None
            return calls.call(run, pool, command, args, timeout)

        context = Context(
            pool=self._pool,
            command=order.command,
            request_id=f"{order.client.hex()[:8]}-{order.id}",
            attempt=order.attempt,
            worker_id=self._worker_id,
            deadline=time.monotonic() + order.timeout,
            caller=call if calls is not None and not under_trio else None,
            acaller=acall if under_trio else None,
        )
        run = Run(order, context)
        return run if self.running.begin(run) else None

    def read(self, run: Run, body: Sequence[Any]) -> tuple[Command, dict[str, Any]] | Frames:
        """Find the command and check the arguments; frames are the answer where that failed."""
        try:
            return answers.read_request(self.service, run.order, body)
        except Exception as error:
            return answers.failure(run.order, error)

    def commands(self) -> list[CommandInfo]:
        """What the broker has to know of the service."""
        return [CommandInfo(c.name, c.idempotent, c.streams) for c in self.service.commands.values()]
