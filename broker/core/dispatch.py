"""From the queue to the workers: the least loaded first, short requests ahead of time, batches together.

enqueue → dispatch → hand over          look → recall → returned → dispatch
"""

from __future__ import annotations

import math

from maitred.broker.core.books import enter_worker, leave_worker, park, send_back, take_owned, unqueue
from maitred.broker.core.endings import Endings
from maitred.broker.core.model import Batch, Request, Worker
from maitred.broker.core.pool import Pool
from maitred.broker.core.prefetch import LOOK_INTERVAL_S, UNKNOWN_S
from maitred.broker.core.queue import AGEING_S
from maitred.broker.core.session import Session
from maitred.broker.core.state import State
from maitred.protocol import limits, messages

MAX_WAIT_FOR_MORE_S = 1.0
"""The longest that a batch waits for more, whatever its command says: what stands behind it in the queue waits too."""


class Dispatcher:
    """Gives requests to workers, and takes back what waits at one that turned slow."""

    def __init__(self, state: State, endings: Endings) -> None:
        self._state = state
        self._endings = endings

    def enqueue(self, request: Request, now: float) -> None:
        """A request was accepted: to a worker at once where nothing waits, else into the queue."""
        pool = request.pool
        session = request.session
        if session is not None:
            if session.current is None and not session.lines and self._hand_over_to_owner(request, session, now):
                return
            _queued(request)
            park(request)
            if session.current is None:
                self._state.freed.append(session)
            return
        if pool.queue or not self._hand_over_at_once(request, now):
            _queued(request)
            pool.queue.push(request)
            if not pool.workers and pool.dynamic and len(pool.queue) == 1:
                self._state.rounds_at = -math.inf  # somebody has to be started for it
            self.dispatch(pool, now)

    def _hand_over_to_owner(self, request: Request, session: Session, now: float) -> bool:
        """The same for a session's request: where it is the next and its owner may take it, and nothing else waits."""
        owner, pool = session.worker, request.pool
        if owner is None or owner.queue or pool.queue or pool.paused or request.deadline <= now:
            return False
        expected_s = pool.service_times.expected(request.command)
        if not owner.has_room_for_its_own(owner.load) or not owner.may_take(expected_s):
            return False
        session.current = request
        self._hand_over(request, owner, expected_s, now)
        return True

    def _hand_over_at_once(self, request: Request, now: float) -> bool:
        """Spare a request the way through an empty queue; False where no worker may take it, or its time is over."""
        pool = request.pool
        if request.in_batches or request.deadline <= now:
            return False
        expected_s = pool.service_times.expected(request.command)
        worker = pool.ready.least()
        if worker is None or not (worker.may_take(expected_s) or (worker := pool.ready.taking(expected_s))):
            return False
        self._hand_over(request, worker, expected_s, now)
        return True

    def dispatch(self, pool: Pool, now: float) -> None:
        """Give waiting requests to the least loaded workers while there are both, and those of sessions to their owners."""
        if pool.owing and not pool.paused:
            self._dispatch_owned(pool, now, stand_back=True)
        self._dispatch_free(pool, now)
        if pool.owing and not pool.paused:
            self._dispatch_owned(pool, now, stand_back=False)

    def _dispatch_owned(self, pool: Pool, now: float, *, stand_back: bool) -> None:
        """Requests of sessions, which only their owner may run; `stand_back` where others that may have it came before."""
        for owner in list(pool.owing):
            while owner.queue:
                request = owner.queue.first()
                expected_s = pool.service_times.expected(request.command)
                if not owner.has_room_for_its_own(owner.load) or not owner.may_take(expected_s):
                    break
                if stand_back and pool.queue and _came_before(pool.queue.first(), request):
                    break
                if request.deadline <= now:
                    unqueue(self._state, request)
                    self._endings.expire_queued(request)
                else:
                    self._hand_over(take_owned(pool, owner), owner, expected_s, now)

    def _dispatch_free(self, pool: Pool, now: float) -> None:
        queue, ready = pool.queue, pool.ready
        while queue and (worker := ready.least()) is not None:
            request = queue.first()
            if request.deadline <= now:
                queue.pop()
                self._endings.expire_queued(request)
                continue
            expected_s = pool.service_times.expected(request.command)
            if not worker.may_take(expected_s) and (worker := ready.taking(expected_s)) is None:
                return
            info = pool.commands.get(request.command) if request.in_batches and not request.suspected else None
            if info is not None and worker.peer in self._state.majordomo:
                info = None
            if info is not None:
                if self._waits_for_more(pool, info, now):
                    return
                self._hand_over_batch(pool, worker, info, expected_s, now)
            else:
                queue.pop()
                self._hand_over(request, worker, expected_s, now)

    def _hand_over(self, request: Request, worker: Worker, expected_s: float, now: float, more: int = 0) -> None:
        state = self._state
        load = worker.load
        request.alone = not load
        enter_worker(request, worker, expected_s, now)
        if load >= worker.slots and (request.batch is None or request.batch.entered == 1):
            self._watch(worker, now)
        request.pool.ready.place(worker)
        client_id, request_id = request.key
        left = min(request.deadline - now, limits.MAX_TIMEOUT_S)
        due = request.deadline + state.settings.clock_ahead_s if worker.same_clock else 0.0
        order = messages.Dispatch(
            client_id, request_id, request.attempt, request.command, left, request.window, due, more,
            None if request.session is None else request.session.id,
            self._position(request, worker, now) if request.trace else None,
        )  # fmt: skip
        state.send(worker.peer, order, request.body)

    def _position(self, request: Request, worker: Worker, now: float) -> messages.Position:
        """Who gives the order, in the request's trace: the broker, where it makes spans, else the caller."""
        trace = request.trace
        if request.journey is not None:
            trace = request.journey.dispatch(request.attempt, worker.id.hex(), self._state.new_span())
        return messages.Position(trace, max(now - request.received_at, 0.0))

    # --- batches ---

    def _waits_for_more(self, pool: Pool, info: messages.CommandInfo, now: float) -> bool:
        """Whether callers of the last batch are about to call again: until then a smaller one would waste its worker."""
        size, ended_at = pool.last_batch.get(info.name, (1, now))
        until = ended_at + min(info.max_wait, MAX_WAIT_FOR_MORE_S)
        if pool.queue.by_command[info.name] >= min(size, info.batch) or now >= until:
            return False
        self._state.hold_until = min(self._state.hold_until, until)
        return True

    def _hand_over_batch(
        self, pool: Pool, worker: Worker, info: messages.CommandInfo, expected_s: float, now: float
    ) -> None:
        """The one whose turn it is, and the oldest others of its command, as many as it takes."""
        queue = pool.queue
        together = [queue.pop()]
        while len(together) < info.batch and (request := queue.take(info.name)) is not None:
            if request.deadline <= now:
                self._endings.expire_queued(request)
            elif request.suspected:
                queue.give_back(request)  # it runs alone, when its turn comes
                break
            else:
                together.append(request)
        batch = Batch(len(together))
        pool.meters.batches += 1
        pool.meters.batched += len(together)
        for place, request in enumerate(together, 1):
            request.batch = batch
            self._hand_over(request, worker, expected_s, now, len(together) - place)

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
                self._recall_waiting(worker)

    def _recall_waiting(self, worker: Worker) -> None:
        slots = max(worker.slots - len(worker.abandoned), 0)
        running: list[object] = []  # a request, or the batch it is in
        for request in worker.held.values():
            unit = request.batch or request
            if unit not in running and len(running) < slots:
                running.append(unit)
            if unit in running:
                worker.expected_s += UNKNOWN_S - request.expected_s
                request.expected_s = UNKNOWN_S
            elif not request.recalled and request.session is None and len(worker.pool.workers) > 1:
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
        self.requeue(request, "given_back")
        request.attempt += 1
        request.attempts += 1
        worker.pool.ready.place(worker)
        self._state.note("request.returned", pool=worker.pool.name, worker=worker.id.hex())
        self.dispatch(worker.pool, now)

    # --- when a worker is gone ---

    def requeue(self, request: Request, reason: str = "not_begun") -> None:
        """Put a request back that its worker never began: it keeps its place, and the attempt does not count."""
        if request.cancelled:
            self._endings.end_cancelled(request, "removed")
            return
        if not self._endings.is_permitted(request):
            self._endings.deny(request)
            return
        if request.session is None:
            leave_worker(request)
            request.pool.queue.give_back(request)
            if request.journey is not None:
                request.journey.leave("requeued", reason)
        else:
            self.take_back(request, reason)
            self._state.freed.append(request.session)

    def take_back(self, request: Request, reason: str) -> None:
        """The same of a session's request: it has its turn again once the session has an owner."""
        assert request.session is not None
        leave_worker(request)
        if request.journey is not None:
            request.journey.leave("requeued", reason)
        send_back(request.session)

    def retry_or_fail(self, request: Request, certificate: messages.Certificate) -> None:
        """Its worker died on it: run it again where that is allowed, else say so to the caller."""
        if self._endings.may_run_again(request):
            request.suspected = True
            request.identity.account.retries -= 1
            self.requeue(request, "worker_lost")
            request.attempt += 1
        else:
            self._endings.lose(request, certificate)


def _queued(request: Request) -> None:
    if request.journey is not None:
        request.journey.note("queued")


def _came_before(one: Request, other: Request) -> bool:
    """Whether one would be served before the other, if they stood in one queue."""
    return one.received_at - one.priority * AGEING_S < other.received_at - other.priority * AGEING_S
