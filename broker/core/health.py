"""How pools do: told at each pool's own interval, and their idle workers asked.

A worker that has completed nothing for a whole interval is sent CHECK. Where it finds something wrong with itself, it is
replaced; where it does not answer, although it has nothing else to do, it is suspect and fenced, as one that has gone
silent is. Work is the better check: who completes requests is not asked.
"""

from __future__ import annotations

import math

from maitred.broker.core.dispatch import Dispatcher
from maitred.broker.core.model import Worker
from maitred.broker.core.pool import Pool
from maitred.broker.core.retiring import Retiring
from maitred.broker.core.running import running_s
from maitred.broker.core.state import State
from maitred.protocol import messages


class Health:
    """The verbs of a check."""

    def __init__(self, state: State, dispatcher: Dispatcher, retiring: Retiring) -> None:
        self._state = state
        self._dispatcher = dispatcher
        self._retiring = retiring

    def look(self, now: float) -> float:
        """Look at the pools whose interval is over; returns when that of the next one is."""
        pools = self._state.pools.values()
        for pool in pools:
            it = pool.health
            if now < it.look_at:
                continue
            self._look_at(pool, now)
            interval_s = pool.settings.health_check_interval_s
            it.look_at = max(it.look_at + interval_s, now)  # one that is late is made up for, two are not
        return min((pool.health.look_at for pool in pools), default=math.inf)

    def _look_at(self, pool: Pool, now: float) -> None:
        it = pool.health
        it.utilisation = _utilisation(pool, now)
        it.busy_before_s, it.looked_at = _busy_s(pool, now), now
        for worker in list(pool.workers.values()):
            self._check(worker, now)
        states = [worker.state for worker in pool.workers.values()]
        self._state.note(
            "pool.health", pool=pool.name, available=states.count("idle"), busy=states.count("busy"), total=len(states),
            queued=pool.queued, utilisation=it.utilisation,
        )  # fmt: skip

    def _check(self, worker: Worker, now: float) -> None:
        idle = not worker.load and worker.served == worker.served_before
        worker.served_before = worker.served
        if not idle or worker.draining:
            return
        if worker.check is None:
            self._state.checks += 1
            worker.check = (self._state.checks, now)
            self._state.send(worker.peer, messages.Check(self._state.checks))
            return
        patience_s = max(worker.pool.settings.health_check_interval_s, self._state.settings.worker_silence_s)
        if now - worker.check[1] >= patience_s:
            self._suspect(worker)

    def _suspect(self, worker: Worker) -> None:
        if not worker.overdue:
            worker.suspect = worker.overdue = True
            worker.pool.ready.place(worker)
            self._state.note("worker.suspect", pool=worker.pool.name, worker=worker.id.hex(), reason="check")
        agent = self._state.agent_of(worker)
        if agent is not None:
            self._state.send(agent.peer, messages.Fence(worker.id))

    def checked(self, worker: Worker, message: messages.Checked, now: float) -> None:
        """A worker has answered."""
        if worker.check is None or worker.check[0] != message.number:
            return
        worker.check = None
        if worker.overdue:
            worker.suspect = worker.overdue = False
            worker.pool.ready.place(worker)
            self._state.note("worker.recovered", pool=worker.pool.name, worker=worker.id.hex())
            self._dispatcher.dispatch(worker.pool, now)
        worker.problem = message.problem
        if message.problem:
            self._replace(worker, now)

    def _replace(self, worker: Worker, now: float) -> None:
        self._state.note("worker.unhealthy", pool=worker.pool.name, worker=worker.id.hex(), problem=worker.problem)
        agent = self._state.agent_of(worker)
        if agent is None:
            self._retiring.retire(worker, "recycle", worker.problem, now)
        else:
            self._state.send(agent.peer, messages.Recycle([worker.id], "recycle"))

    def forgive(self, now: float) -> None:
        """The broker itself was not running: nobody was asked in time, and nobody could answer."""
        for pool in self._state.pools.values():
            pool.health.look_at = now + pool.settings.health_check_interval_s
            pool.health.looked_at = pool.health.waits_since = pool.health.seen_at = now
            pool.health.busy_before_s = _busy_s(pool, now)


def _busy_s(pool: Pool, now: float) -> float:
    """What the pool's workers have spent on requests in all, what runs included."""
    return pool.pace.busy_s + sum(running_s(worker, now) for worker in pool.workers.values())


def _utilisation(pool: Pool, now: float) -> float:
    there_s = sum(
        worker.slots * (now - max(worker.registered_at, pool.health.looked_at)) for worker in pool.workers.values()
    )
    busy_s = _busy_s(pool, now) - pool.health.busy_before_s
    return min(max(busy_s / there_s, 0.0), 1.0) if there_s > 0 else 0.0
