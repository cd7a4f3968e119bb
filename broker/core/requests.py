"""A request's life: admit, dispatch, relay, finish; expire, cancel, requeue, fail.

Every path out of here ends in `_close`, which is the only place where a request leaves the books, and each caller of it
has sent exactly one terminal answer, or knows that the client is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from maitred.broker.core.model import Client, Key, Pool, Request, Worker
from maitred.broker.core.prefetch import LOOK_INTERVAL_S, UNKNOWN_S, smooth_round_trip
from maitred.broker.core.state import State
from maitred.broker.core.words import describe, nearest
from maitred.protocol import limits, messages
from maitred.protocol.errors import Code

SMOOTHING = 0.1
"""Weight of the newest service time in a pool's running mean."""


class Requests:
    """The verbs of a request. They act on the state and leave effects in it."""

    def __init__(self, state: State) -> None:
        self._state = state

    # --- admission ---

    def admit(self, client: Client, message: messages.Request, body: Sequence[Any], now: float) -> None:
        """Accept a request into its pool's queue and dispatch what can be, or refuse it with the reason."""
        key = (client.id, message.id)
        if key in self._state.requests:
            self._state.note("request.duplicate", request=message.id)
            return
        pool = self._find_pool(client, message)
        if pool is None or not self._may_enter(client, message, body, pool):
            return
        request = self._make(client, key, message, body, pool, now)
        self._state.requests[key] = request
        self._state.deadlines.add(request.deadline, request)
        client.waiting[message.id] = request
        if pool.queue or not self._hand_over_at_once(request, now):
            pool.queue.push(request)
            self.dispatch(pool, now)

    def _hand_over_at_once(self, request: Request, now: float) -> bool:
        """Spare a request the way through an empty queue; False where no worker may take it, or its time is over."""
        pool = request.pool
        worker = pool.ready.least()
        if worker is None or request.deadline <= now:
            return False
        expected_s = pool.service_times.expected(request.command)
        if not worker.may_take(expected_s):
            return False
        self._hand_over(request, worker, expected_s, now)
        return True

    def _find_pool(self, client: Client, message: messages.Request) -> Pool | None:
        name = message.pool if message.pool is not None else self._state.settings.route(message.command)
        pool = self._state.pools.get(name) if name is not None else None
        if pool is None:
            pools = sorted(self._state.pools)
            asked = f"no pool {name!r}" if name is not None else f"no route for the command {message.command!r}"
            text = f"{asked}; there are: {', '.join(pools) or 'none'}"
            details = {"pool": name, "pools": pools, "nearest": nearest(name or "", pools)}
            self._state.refuse(client.peer, message.id, Code.UNKNOWN_POOL, text, details)
        return pool

    def _may_enter(self, client: Client, message: messages.Request, body: Sequence[Any], pool: Pool) -> bool:
        if self._state.draining:
            self._unavailable(client, message.id, pool, "draining", "the broker is shutting down")
            return False
        size = len(body[0]) if len(body) == 1 else sum(len(frame) for frame in body)
        limit = self._state.settings.max_message_bytes
        if size > limit:
            text = f"the arguments take {size} bytes; this broker accepts {limit}"
            details = {"size": size, "limit": limit, "what": "arguments"}
            self._state.refuse(client.peer, message.id, Code.PAYLOAD_TOO_LARGE, text, details)
            return False
        commands = pool.commands
        if commands and message.command not in commands:
            self._unknown_command(client, message, pool, sorted(commands))
            return False
        queued, capacity = len(pool.queue), pool.settings.max_queue
        if queued + pool.held >= capacity:
            pool.refused += 1
            text = f"pool {pool.name!r} is full: {queued} queued, {pool.held} with workers, room for {capacity}"
            details = {"pool": pool.name, "queued": queued, "capacity": capacity, "reason": "queue_full"}
            self._state.refuse(client.peer, message.id, Code.RESOURCE_EXHAUSTED, text, details)
            self._state.note("pool.saturated", pool=pool.name, queued=queued, capacity=capacity)
            return False
        if not pool.workers and not pool.starting and pool.degraded:
            self._unavailable(client, message.id, pool, "degraded", f"its workers cannot start: {pool.degraded}")
            return False
        return True

    def _unknown_command(self, client: Client, message: messages.Request, pool: Pool, commands: list[str]) -> None:
        near = nearest(message.command, commands)
        hint = f"; did you mean {near!r}?" if near else "."
        text = f"pool {pool.name!r} has no command {message.command!r}{hint} It has: {', '.join(commands)}"
        details = {"pool": pool.name, "command": message.command, "commands": commands, "nearest": near}
        self._state.refuse(client.peer, message.id, Code.UNKNOWN_COMMAND, text[:4096], details)

    def _unavailable(self, client: Client, request_id: int, pool: Pool, reason: str, text: str) -> None:
        details = {"pool": pool.name, "reason": reason}
        self._state.refuse(client.peer, request_id, Code.UNAVAILABLE, f"pool {pool.name!r}: {text}"[:4096], details)

    def _make(
        self, client: Client, key: Key, message: messages.Request, body: Sequence[Any], pool: Pool, now: float
    ) -> Request:
        request = Request(key, client.peer, pool, message.command, body)
        self._state.admitted += 1
        request.admitted = self._state.admitted
        request.received_at = now
        request.deadline = now + (pool.settings.timeout_s if message.timeout is None else message.timeout)
        request.window = message.window
        request.idempotent = message.idempotent
        request.attempts = message.attempts or pool.settings.max_attempts
        return request

    # --- dispatch ---

    def dispatch(self, pool: Pool, now: float) -> None:
        """Give waiting requests to the least loaded workers while there are both."""
        while pool.queue and (worker := pool.ready.least()) is not None:
            request = pool.queue.first()
            if request.deadline <= now:
                pool.queue.pop()
                self._expire_queued(request)
                continue
            expected_s = pool.service_times.expected(request.command)
            if not worker.may_take(expected_s):
                return
            pool.queue.pop()
            self._hand_over(request, worker, expected_s, now)

    def _hand_over(self, request: Request, worker: Worker, expected_s: float, now: float) -> None:
        request.worker = worker
        request.dispatched_at = now
        request.expected_s = expected_s
        load = worker.load
        request.alone = not load
        worker.expected_s += expected_s
        worker.held[request.key] = request
        if load >= worker.slots:
            self._watch(worker, now)
        pool = request.pool
        pool.held += 1
        pool.ready.place(worker)
        client_id, request_id = request.key
        left = min(request.deadline - now, limits.MAX_TIMEOUT_S)
        order = messages.Dispatch(client_id, request_id, request.attempt, request.command, left, request.window)
        self._state.send(worker.peer, order, request.body)

    # --- sent ahead, and called back ---

    def _watch(self, worker: Worker, now: float) -> None:
        """Something waits behind what this worker runs: look in a moment whether it still runs the same."""
        state = self._state
        if not state.stacked:
            state.look_at = now + LOOK_INTERVAL_S
        state.stacked.setdefault(worker, worker.oldest())

    def look(self, now: float) -> None:
        """Recall what waits behind a request that takes longer than was expected."""
        state = self._state
        state.look_at = now + LOOK_INTERVAL_S
        for worker, before in list(state.stacked.items()):
            oldest = worker.oldest()
            if worker.load <= worker.slots:
                del state.stacked[worker]
            elif oldest != before:
                state.stacked[worker] = oldest
            else:
                self._recall(worker)

    def _recall(self, worker: Worker) -> None:
        running = max(worker.slots - len(worker.abandoned), 0)
        for place, request in enumerate(worker.held.values()):
            if place < running:
                worker.expected_s += UNKNOWN_S - request.expected_s
                request.expected_s = UNKNOWN_S
            elif not request.recalled and len(worker.pool.workers) > 1:
                self.recall(worker, request)

    def recall(self, worker: Worker, request: Request) -> None:
        """Ask for a request back, if it was not begun."""
        if worker.control is not None:
            request.recalled = True
            self._state.send(worker.control, messages.Recall(request.key[0], request.key[1], request.attempt))

    def returned(self, worker: Worker, message: messages.Returned, now: float) -> None:
        """A worker gives back what it had not begun. It counts as another attempt, so that no late word is mistaken."""
        request = worker.held.get((message.client, message.id))
        if request is None or request.attempt != message.attempt or not request.recalled:
            return
        self.requeue(request)
        request.attempt += 1
        request.attempts += 1
        worker.pool.ready.place(worker)
        self._state.note("request.returned", pool=worker.pool.name, worker=worker.id.hex())
        self.dispatch(worker.pool, now)

    # --- what workers answer ---

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
            self._close(request)
            self._answer(request, worker, message, body, now)
            worker.served += 1
        elif worker.abandoned.pop(key, None) is not None:
            worker.served += 1
        else:
            self._state.note("reply.unexpected", worker=worker.id.hex(), request=message.id)
            return
        pool.ready.place(worker)
        self.dispatch(pool, now)

    def _answer(
        self,
        request: Request,
        worker: Worker,
        message: messages.WorkerReply | messages.WorkerError,
        body: Sequence[Any],
        now: float,
    ) -> None:
        pool = request.pool
        if isinstance(message, messages.WorkerReply):
            pool.completed += 1
            self._state.send(request.peer, messages.Reply(message.id, message.attempt), body)
        else:
            pool.failed += 1
            self._state.send(request.peer, messages.Error(message.id, message.code, message.message), body)
        took = now - request.dispatched_at
        if message.ran:
            pool.service_times.measured(request.command, message.ran)
            if request.alone:
                worker.round_trip_s = smooth_round_trip(worker.round_trip_s, took - message.ran)
        pool.service_s = took if pool.service_s is None else pool.service_s + SMOOTHING * (took - pool.service_s)

    # --- ends that no worker decides ---

    def expire(self, request: Request) -> None:
        """The deadline passed: never begun where it is queued; told to stop, and answered, where it runs."""
        if request.worker is None:
            request.pool.queue.remove(request)
            self._expire_queued(request)
            return
        self._abandon(request, "deadline")
        self._fail_deadline(request, "running")

    def _expire_queued(self, request: Request) -> None:
        self._close(request)
        self._fail_deadline(request, "queued")

    def _fail_deadline(self, request: Request, where: str) -> None:
        pool = request.pool
        pool.failed += 1
        spent = request.deadline - request.received_at
        verb = "was still queued" if where == "queued" else "was still running"
        if where == "queued" and not pool.workers:
            verb += f" (no worker is up, {len(pool.starting)} are starting)"
        longer = [p for p in self._state.pools.values() if p.settings.timeout_s > max(spent, pool.settings.timeout_s)]
        hint = f"pass a longer timeout=, or use pool {longer[0].name!r}" if longer else "pass a longer timeout="
        text = f"{request.command!r} {verb} in pool {pool.name!r} when its {spent:.3g} s had passed"
        details = {"pool": pool.name, "where": where, "timeout": spent, "suggestion": hint}
        self._state.refuse(request.peer, request.key[1], Code.DEADLINE_EXCEEDED, text, details)
        self._state.note("request.expired", pool=pool.name, where=where)

    def cancel(self, client: Client, request_id: int) -> None:
        """The client wants it no more. A running function is told; its own answer closes the request."""
        request = self._state.requests.get((client.id, request_id))
        if request is None:
            return
        if request.worker is None:
            request.pool.queue.remove(request)
            self._end_cancelled(request)
        elif not request.cancelled:
            request.cancelled = True
            self._tell_worker(request.worker, request.key, "cancelled")

    def _end_cancelled(self, request: Request) -> None:
        self._close(request)
        text = f"{request.command!r} was cancelled before it began"
        self._state.refuse(request.peer, request.key[1], Code.CANCELLED, text, {"outcome": "removed"})

    def grant(self, client: Client, message: messages.Grant) -> None:
        """The reader of a stream has room: tell the worker, or remember it for the dispatch."""
        request = self._state.requests.get((client.id, message.id))
        if request is None:
            return
        if request.worker is None:
            request.window = min(request.window + message.parts, 1 << 20)
        else:
            peer = request.worker.control or request.worker.peer
            self._state.send(peer, messages.WorkerGrant(client.id, message.id, message.parts))

    def give_up(self, request: Request) -> None:
        """The client is gone: nobody is left to answer."""
        if request.worker is None:
            request.pool.queue.remove(request)
            self._close(request)
        else:
            self._abandon(request, "client_lost")

    def _abandon(self, request: Request, reason: str) -> None:
        worker = request.worker
        assert worker is not None
        self._close(request)
        worker.abandoned[request.key] = request.dispatched_at
        self._tell_worker(worker, request.key, reason)

    def _tell_worker(self, worker: Worker, key: Key, reason: str) -> None:
        self._state.send(worker.control or worker.peer, messages.WorkerCancel(key[0], key[1], reason))

    # --- when a worker is gone ---

    def requeue(self, request: Request) -> None:
        """Put a request back that its worker never began: it keeps its place, and the attempt does not count."""
        if request.cancelled:
            self._end_cancelled(request)
            return
        self._take_from_worker(request)
        request.pool.queue.give_back(request)

    def retry_or_fail(self, request: Request, certificate: messages.Certificate) -> None:
        """Its worker died on it: run it again where that is allowed, else say so to the caller."""
        if self._may_run_again(request):
            self.requeue(request)
            request.attempt += 1
            return
        self._close(request)
        request.pool.failed += 1
        text = f"the worker that ran {request.command!r} is lost: {describe(certificate)}"
        plain = msgspec.to_builtins(certificate)
        details = {"pool": request.pool.name, "certificate": plain, "attempt": request.attempt}
        self._state.refuse(request.peer, request.key[1], Code.WORKER_LOST, text, details)

    def _may_run_again(self, request: Request) -> bool:
        idempotent = request.idempotent
        if idempotent is None and request.worker is not None:
            info = request.worker.commands.get(request.command)
            idempotent = info is not None and info.idempotent
        return bool(idempotent) and request.attempt < request.attempts and not request.cancelled

    def fail_unavailable(self, request: Request, reason: str, text: str) -> None:
        """Answer `unavailable` for a request that was not begun, or that the broker cannot wait for."""
        if request.worker is None:
            request.pool.queue.remove(request)
            self._close(request)
        else:
            self._abandon(request, "draining")
        details = {"pool": request.pool.name, "reason": reason}
        self._state.refuse(request.peer, request.key[1], Code.UNAVAILABLE, text, details)

    # --- the books ---

    def _take_from_worker(self, request: Request) -> None:
        worker = request.worker
        if worker is not None:
            del worker.held[request.key]
            worker.expected_s = worker.expected_s - request.expected_s if worker.held else 0.0
            request.pool.held -= 1
            request.worker = None
            request.recalled = False

    def _close(self, request: Request) -> None:
        self._take_from_worker(request)
        del self._state.requests[request.key]
        self._state.deadlines.discard(request.deadline, request)
        party = self._state.parties.get(request.peer)
        if isinstance(party, Client):
            party.waiting.pop(request.key[1], None)
