"""One request in a worker, from the order to the answer; what the two loops (plain and trio) have in common."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from maitred.protocol import limits
from maitred.protocol.frames import Frames
from maitred.protocol.limits import MAX_SLOTS
from maitred.protocol.messages import CommandInfo, Dispatch, Welcome
from maitred.protocol.worker import Held
from maitred.worker import answers
from maitred.worker.calling import Calls
from maitred.worker.context import AsyncCaller, Context
from maitred.worker.gathering import Arrived
from maitred.worker.interrupt import Window
from maitred.worker.loading import AdapterError
from maitred.worker.options import WorkerOptions
from maitred.worker.own_events import OwnEvents
from maitred.worker.running import Run, Running
from maitred.worker.service import Command, Service
from maitred.worker.session import Session
from maitred.worker.sessions import Sessions
from maitred.worker.started_page import StartedPage

__all__ = ["Requests", "Taken", "check_room"]

Taken = tuple[Run, Sequence[Any]]
"""A request that was begun with, and its body."""


class Requests:
    """What a worker has to know to serve a request.

    Args:
        options: the worker's.
        service: its commands.

    Attributes:
        pool: its name.
        sessions: those that this process owns.
        events: the application's own, on their way.
        prefetch: requests, or batches of them, that may lie ready: fewer than allowed where batches are so large that a
            worker could not hold them.
        window: what synchronous functions of the main thread run in.
        in_threads: synchronous functions run in threads, where nothing can be raised in them; the loop says so.
    """

    def __init__(self, options: WorkerOptions, service: Service) -> None:
        self.service = service
        self.running = Running(Held())
        self.sessions = Sessions()
        self.events = OwnEvents()
        self.calls = Calls(options.clients_endpoint, options.key_file) if options.clients_endpoint else None
        self.page = options.started or StartedPage(MAX_SLOTS)
        largest = _largest_batch(service)
        self.prefetch = max(0, min(options.prefetch, MAX_SLOTS // largest - options.slots))
        self.page.narrow(min(MAX_SLOTS, (options.slots + self.prefetch) * largest))
        self.max_message_bytes = limits.MAX_MESSAGE_BYTES
        self.window = Window()
        self.in_threads = False
        self._async = frozenset(name for name, command in service.commands.items() if command.is_async)
        self._batched = {name: command for name, command in service.commands.items() if command.batch}
        self.pool = options.pool
        self._worker_id = options.worker.hex()

    def welcomed(self, welcome: Welcome) -> None:
        """The broker's terms."""
        self.max_message_bytes = welcome.max_message
        self.events.accepted = welcome.events
        self.events.wake()

    def take(self, order: Dispatch, arrived_at: float, acall: AsyncCaller | None = None) -> Run | None:
        """Begin with a request: from here on it can be cancelled. `acall`: its way out under trio. None: recalled."""
        calls = self.calls
        is_async = order.command in self._async
        under_trio = acall is not None and is_async  # a plain one holds the loop anyway, or has a thread

        def call(
            pool: str | None, command: str, args: dict[str, Any] | None, timeout: float | None, trace: str | None
        ) -> Any:
            assert calls is not None
            return calls.call(run, pool, command, args, timeout, trace)

        context = Context(
            pool=self.pool,
            command=order.command,
            request_id=f"{order.client.hex()[:8]}-{order.id}",
            attempt=order.attempt,
            worker_id=self._worker_id,
            deadline=order.due or arrived_at + order.timeout,
            caller=call if calls is not None and not under_trio else None,
            acaller=acall if under_trio else None,
            teller=self.events.tell,
        )
        run = Run(order, context, interruptible=not (is_async or self.in_threads))
        return run if self.running.begin(run) else None

    def take_all(self, group: Iterable[Arrived], acall: AsyncCaller | None = None) -> list[Taken]:
        """Begin with requests that came together, without those that were recalled."""
        taken: list[Taken] = []
        for order, body, arrived_at in group:
            run = self.take(order, arrived_at, acall)
            if run is not None:
                taken.append((run, body))
        return taken

    def batched(self, taken: Sequence[Taken]) -> Command | None:
        """The command that takes them all in one call; None where each has its own."""
        return self._batched.get(taken[0][0].order.command) if taken and self._batched else None

    def begin(self, run: Run) -> None:
        """Its function is about to run: note it where a death leaves it, and find its session."""
        run.began_at = time.monotonic()
        run.slot = self.page.begin(run.order.client, run.order.id, run.context.deadline or 0.0)
        if run.order.session is not None:
            owned = self.sessions.find(run.order.session)
            run.context.session = None if owned is None else owned.session

    def end(self, run: Run) -> None:
        """Its answer was handed to ZeroMQ."""
        self.page.end(run.slot)
        self.running.end(run)
        if run.order.session is not None:
            self.sessions.answered(run.order.session, time.monotonic(), well=run.returned)

    def read(self, run: Run, body: Sequence[Any]) -> tuple[Command, dict[str, Any]] | Frames:
        """Find the command and check the arguments; frames are the answer where that failed, or its session is not here."""
        session = run.order.session
        if session is not None and run.context.session is None:
            return answers.failure(run.order, self.sessions.absence(session))
        try:
            return answers.read_request(self.service, run.order, body)
        except Exception as error:
            return answers.failure(run.order, error)

    def context_of(self, command: str, session: Session | None = None) -> Context:
        """For what runs on behalf of a session, or of the process itself, and of no request."""
        name = "" if session is None else f"session-{session.id[:8]}"
        return Context(
            pool=self.pool, command=command, request_id=name, worker_id=self._worker_id, session=session,
            teller=self.events.tell,
        )  # fmt: skip

    def commands(self) -> list[CommandInfo]:
        """What the broker has to know of the service."""
        return [
            CommandInfo(c.name, c.idempotent, c.streams, max(1, c.batch), c.options.max_wait_s)
            for c in self.service.commands.values()
        ]


def check_room(options: WorkerOptions, service: Service) -> None:
    """Refuse more at a time than a worker can name when it registers, and its page after its death.

    Raises:
        AdapterError: the text says what to lower.
    """
    largest = _largest_batch(service)
    if options.slots * largest > MAX_SLOTS:
        raise AdapterError(
            f"adapter {options.adapter!r}: {options.slots} batches of {largest} at a time; a worker holds at most "
            f"{MAX_SLOTS} requests: lower concurrency or batch"
        )


def _largest_batch(service: Service) -> int:
    """Of its commands, in requests."""
    return max((command.batch for command in service.commands.values()), default=0) or 1
