"""Places that the broker keeps for callers who were refused, and catch `PoolSaturated` themselves.

    except PoolSaturated as error:          the place is kept for this thread, or this task
        time.sleep(error.retry_after)
        client.execute(…)                   and taken by its next call to that pool

A context variable holds them, so that each thread and each task has its own. A place is used once, even where a context was
copied (a task that another one starts), and is forgotten when it is too old for the broker to keep it still.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

from maitred.client.calls import Answer, Call
from maitred.client.errors import PoolSaturated
from maitred.protocol.client import Failed

__all__ = ["Place", "claim", "keep", "kept"]

KEPT_LONGEST: Final = 16
"""Places of one context: more pools than that nobody waits for at a time. The oldest goes first."""

SPARE_S: Final = 1.0
"""Beyond twice its wait, a place is as old as this at most."""


class Place:
    """One place, made when the refusal arrived.

    Args:
        owner: who may use it: another client has another broker, or is another client to the same one.
        pool: where it is, as the refusal says.
        command: what was refused; it stands for the pool where the broker chooses that.
        ticket: what names the place to the broker.
        until: when it is forgotten (monotonic seconds).
    """

    __slots__ = ("_ticket", "command", "owner", "pool", "until")

    def __init__(self, owner: object, pool: object, command: str, ticket: int, until: float) -> None:
        self.owner = owner
        self.pool = pool
        self.command = command
        self.until = until
        self._ticket = [ticket]

    @classmethod
    def of(cls, answer: Answer, call: Call, owner: object, now: float) -> Place | None:
        """The place that an answer gives, if it is a refusal that gives one."""
        if not isinstance(answer, Failed) or not isinstance(answer.error, PoolSaturated):
            return None
        error = answer.error
        if error.ticket is None:
            return None
        until = now + 2 * (error.retry_after or 0.0) + SPARE_S
        return cls(owner, error.details.get("pool", call.pool), call.command, error.ticket, until)

    def suits(self, owner: object, call: Call) -> bool:
        """Whether a call is one that was refused so."""
        return self.owner is owner and (self.command == call.command if call.pool is None else self.pool == call.pool)

    def take(self) -> int:
        """The ticket, once; 0 afterwards."""
        try:
            return self._ticket.pop()
        except IndexError:
            return 0

    @property
    def used(self) -> bool:
        """Whether it was taken."""
        return not self._ticket


kept: ContextVar[tuple[Place, ...] | None] = ContextVar("maitred_places", default=None)
"""The places of this thread or task. None, nearly always: look before you `claim`."""


def keep(place: Place | None) -> None:
    """Keep a place for the next call of this context."""
    if place is None:
        return
    others = (one for one in kept.get() or () if one is not place and not one.used)
    kept.set((*others, place)[-KEPT_LONGEST:])


def claim(call: Call, owner: object, now: float) -> None:
    """Give a call that begins the place that was kept for it, if there is one. What is used or too old is forgotten."""
    places = kept.get()
    if places is None:
        return
    for place in places:
        if not call.ticket and now <= place.until and place.suits(owner, call):
            call.ticket = place.take()
    kept.set(tuple(place for place in places if not place.used and now <= place.until) or None)
