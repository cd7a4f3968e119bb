"""What workers and readers say of a request that is under way: its parts, its answer, and room for more parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from maitred.broker.core.books import close, forget_abandoned, judge
from maitred.broker.core.dispatch import Dispatcher
from maitred.broker.core.model import Client, Request, Worker
from maitred.broker.core.prefetch import smooth_round_trip
from maitred.broker.core.state import State
from maitred.protocol import limits, messages


class Requests:
    """The verbs of a request on its way back."""

    def __init__(self, state: State, dispatcher: Dispatcher) -> None:
        self._state = state
        self._dispatcher = dispatcher

    def relay(self, worker: Worker, message: messages.WorkerPart, body: Sequence[Any]) -> None:
        """Pass a part on to the client that reads the stream."""
        request = worker.held.get((message.client, message.id))
        if request is not None and request.attempt == message.attempt:
            self._state.send(request.peer, messages.Part(message.id, message.attempt, message.number), body)

    def finish(
        self, worker: Worker, message: messages.WorkerReply | messages.WorkerError, body: Sequence[Any], now: float
    ) -> None:
        """Pass the terminal answer on, and give the worker its slot back."""
        key = (message.client, message.id)
        pool = worker.pool
        request = worker.held.get(key)
        if request is not None and request.attempt == message.attempt:
            batch = request.batch
            if request.session is not None:
                request.session.served += 1
            close(self._state, request)
            if batch is not None and not batch.left:
                pool.last_batch[request.command] = (batch.size, now)
            self._answer(request, worker, message, body, 1 if batch is None else batch.size, now)
            worker.served += 1
        elif forget_abandoned(self._state, worker, key):
            worker.served += 1
        else:
            self._state.note("reply.unexpected", worker=worker.id.hex(), request=message.id)
            return
        pool.ready.place(worker)
        self._dispatcher.dispatch(pool, now)
        if pool.level:
            judge(self._state, pool, now)

    def _answer(
        self,
        request: Request,
        worker: Worker,
        message: messages.WorkerReply | messages.WorkerError,
        body: Sequence[Any],
        together: int,
        now: float,
    ) -> None:
        pool = request.pool
        if request.journey is not None:
            request.journey.end(message.code if isinstance(message, messages.WorkerError) else "")
        if isinstance(message, messages.WorkerReply):
            pool.completed += 1
            pool.meters.durations.observe(now - request.received_at)
            epoch = 0 if request.session is None else request.session.epoch
            self._state.send(request.peer, messages.Reply(message.id, message.attempt, pool.level, epoch), body)
            if self._state.quarantine.entries:
                self._state.quarantine.succeeded(request)
        else:
            pool.failed += 1
            pool.meters.fail(message.code, now - request.received_at)
            self._state.send(request.peer, messages.Error(message.id, message.code, message.message, pool.level), body)
        took = now - request.dispatched_at
        if message.ran:
            pool.service_times.measured(request.command, message.ran)
            if request.alone:
                worker.round_trip_s = smooth_round_trip(worker.round_trip_s, took - message.ran)
            took = message.ran + worker.round_trip_s
        pool.pace.completed(request.command, took / together, now)

    def grant(self, client: Client, message: messages.Grant) -> None:
        """The reader of a stream has room: tell the worker, or remember it for the dispatch."""
        request = self._state.requests.get((client.id, message.id))
        if request is None:
            return
        if request.worker is None:
            request.window = min(request.window + message.parts, limits.MAX_WINDOW_PARTS)
        else:
            peer = request.worker.control or request.worker.peer
            self._state.send(peer, messages.WorkerGrant(client.id, message.id, message.parts))
