"""What a fleet consists of, and what it has done: the words of `worker.fleet`."""

from __future__ import annotations

import math

from msgspec import Struct

from maitred.worker.agent_settings import AgentSettings
from maitred.worker.backoff import STEADY_S, Backoff

__all__ = ["Effect", "End", "Kill", "LetThrough", "Member", "Place", "Retire", "Start", "Tell", "Turn", "Wish"]


class Start(Struct, frozen=True):
    """Start a process; a spare one waits at its gate."""

    worker: bytes
    spare: bool


class LetThrough(Struct, frozen=True):
    """Open a spare one's gate: it is a worker from now on."""

    worker: bytes


class End(Struct, frozen=True):
    """Ask a worker to end, and kill it when its time is over."""

    worker: bytes
    cause: str


class Kill(Struct, frozen=True):
    """Kill a worker that did not load in its time."""

    worker: bytes


class Retire(Struct, frozen=True):
    """Tell the broker that a worker is to go."""

    worker: bytes
    cause: str
    note: str


class Tell(Struct, frozen=True):
    """Tell the broker that the pool is degraded, and why; empty: no more."""

    reason: str


Effect = Start | LetThrough | End | Kill | Retire | Tell


class Place:
    """Room for one worker."""

    __slots__ = ("backoff", "empty_until", "worker")

    def __init__(self, settings: AgentSettings) -> None:
        self.worker: bytes | None = None
        self.empty_until = -math.inf
        self.backoff = Backoff(settings.restart_backoff_s, settings.restart_backoff_max_s)


class Member:
    """One process. `since` is None until there is one; `going`: its end is ordered, or asked for."""

    __slots__ = ("going", "loaded", "place", "ready_at", "served", "since", "spare", "worker")

    def __init__(self, worker: bytes, place: Place | None, spare: bool) -> None:
        self.worker = worker
        self.place = place
        self.spare = spare
        self.since: float | None = None
        self.loaded = False
        self.ready_at: float | None = None
        self.served = 0
        self.going = False

    def steady(self, now: float) -> bool:
        """Whether it has shown that it works."""
        return self.served > 0 or (self.ready_at is not None and now - self.ready_at >= STEADY_S)


class Wish(Struct, frozen=True):
    """Why a worker is to be replaced, and whether another one is to be ready first."""

    cause: str
    note: str
    surge: bool


class Turn(Struct):
    """One that is being replaced, by whom, and whether it was said to the broker."""

    old: bytes
    wish: Wish
    new: bytes | None = None
    retired: bool = False
