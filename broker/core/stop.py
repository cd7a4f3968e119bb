"""A function that was told to stop, and may not: what to look at when its grace is over."""

from __future__ import annotations

from maitred.broker.core.model import Key, Worker


class Stop:
    """One of them. `cause` is for the certificate, if its process has to be killed."""

    __slots__ = ("cause", "key", "last", "worker")

    def __init__(self, worker: Worker, key: Key, cause: str, *, last: bool = False) -> None:
        self.worker = worker
        self.key = key
        self.cause = cause
        self.last = last  # its pool's time-out has passed once more: nobody is spared
