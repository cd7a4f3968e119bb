"""Workers that are to go: given nothing new, and ended when they hold nothing more, or when their time is over.

    retire → (it holds no request and no session, or `drain_timeout_s` is over) → DISMISS → LEAVE or DIED

Who wants it may be its agent (RETIRE: another one is ready in its place), a person, or a pool that shrinks. DISMISS goes to
its agent, which ends it, or to the worker itself where it has none. Whether another takes its place is for the agent to
know.
"""

from __future__ import annotations

from collections.abc import Iterable

from maitred.broker.core.effects import Peer
from maitred.broker.core.model import Retirement, Worker
from maitred.broker.core.state import State
from maitred.protocol import messages


def least_missed(workers: Iterable[Worker]) -> Worker | None:
    """Whom to end first of those that are ready: who does nothing and owns no session, who owns none, who owns fewest."""
    return min(workers, key=lambda worker: (len(worker.sessions), worker.load, -worker.registered_at), default=None)


class Retiring:
    """The verbs of a worker that is to go."""

    def __init__(self, state: State) -> None:
        self._state = state

    def retire(self, worker: Worker, cause: str, note: str, now: float) -> None:
        """Give it nothing new, and end it as soon as that hurts nobody. A worker that retires already goes on doing so."""
        if worker.retirement is not None:
            return
        state, pool = self._state, worker.pool
        retirement = Retirement(worker, cause, note or worker.problem, now + pool.settings.drain_timeout_s)
        worker.retirement = retirement
        worker.draining = True
        pool.ready.place(worker)
        state.retiring[worker] = None
        state.retirements.add(retirement.deadline, retirement)
        state.note("worker.retiring", pool=pool.name, worker=worker.id.hex(), cause=cause, note=retirement.note or None)
        self._end_if_free(worker)

    def look(self) -> None:
        """End those that hold nothing any more."""
        for worker in list(self._state.retiring):
            self._end_if_free(worker)

    def expire(self, retirement: Retirement) -> None:
        """Its time is over: it ends with what it has; what it runs it may still finish."""
        if not retirement.dismissed and self._state.workers.get(retirement.worker.id) is retirement.worker:
            self._dismiss(retirement, "its time was over")

    def sweep(self) -> None:
        """Say it again where the one who was told is gone, or has come back over another connection."""
        for worker in self._state.workers.values():
            it = worker.retirement
            if it is not None and it.dismissed and it.told != self._addressee(worker):
                self._tell(it)

    def say_again(self, worker: Worker) -> None:
        """Its agent asks once more whether it may end it."""
        if worker.retirement is not None and worker.retirement.dismissed:
            self._tell(worker.retirement)

    def forget(self, worker: Worker) -> None:
        """It is gone."""
        self._state.retiring.pop(worker, None)

    def _end_if_free(self, worker: Worker) -> None:
        if worker.retirement is not None and not (worker.load or worker.sessions or worker.queue):
            self._dismiss(worker.retirement, "it holds nothing")

    def _dismiss(self, retirement: Retirement, why: str) -> None:
        worker = retirement.worker
        retirement.dismissed = True
        del self._state.retiring[worker]
        self._state.retirements.discard(retirement.deadline, retirement)
        self._state.note(
            "worker.dismissed", pool=worker.pool.name, worker=worker.id.hex(), cause=retirement.cause, why=why
        )
        self._tell(retirement)

    def _tell(self, retirement: Retirement) -> None:
        retirement.told = self._addressee(retirement.worker)
        self._state.send(retirement.told, messages.Dismiss(retirement.worker.id, retirement.cause))

    def _addressee(self, worker: Worker) -> Peer:
        agent = self._state.agent_of(worker)
        return worker.peer if agent is None else agent.peer
