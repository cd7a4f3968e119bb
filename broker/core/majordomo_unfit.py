"""The end of a request whose body the worker that was chosen for it has no form for: it is told nothing of it."""

from __future__ import annotations

from maitred.broker.core.books import close, forget_abandoned
from maitred.broker.core.dispatch import Dispatcher
from maitred.broker.core.majordomo_bodies import Unfit
from maitred.broker.core.model import Key, Worker
from maitred.broker.core.state import State


def fail_unfit(state: State, dispatcher: Dispatcher, worker: Worker, key: Key, error: Unfit, now: float) -> None:
    """Answer its client, and give the worker its slot back, and the next request."""
    request = worker.held.get(key)
    if request is None:
        forget_abandoned(state, worker, key)
    else:
        close(state, request)
        request.pool.failed += 1
        state.fail(request, error.code, str(error), {"pool": request.pool.name})
    worker.pool.ready.place(worker)
    dispatcher.dispatch(worker.pool, now)
