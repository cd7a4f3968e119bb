"""How long a worker has been at what it runs, for the share of time that it is busy."""

from __future__ import annotations

from maitred.broker.core.model import Request, Worker


def units(worker: Worker) -> list[Request]:
    """What it runs, as far as the broker can tell: the oldest of what it was given, of each batch the first."""
    chosen: list[Request] = []
    for request in (*worker.abandoned.values(), *worker.held.values()):
        if len(chosen) == worker.slots:
            break
        if request is not None and (request.batch is None or all(one.batch is not request.batch for one in chosen)):
            chosen.append(request)
    return chosen


def running_s(worker: Worker, now: float) -> float:
    """Seconds of its slots that went into what it runs now."""
    return sum(now - request.dispatched_at for request in units(worker))
