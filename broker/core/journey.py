"""What becomes of a traced request in the broker, as it will stand in its spans: one of the request, one of each attempt.

Only requests whose caller records them have a journey, and only in a broker that exports spans. All of a step happens at
one time: what is noted is stamped with it when the step ends (`conclude`).

    received → (queued) → dispatched → (lost or given back → dispatched)… → ended
"""

from __future__ import annotations

from typing import Any

from maitred.protocol.trace import Trace

__all__ = ["MAX_ATTEMPTS", "MAX_EVENTS", "Attempt", "Journey", "conclude"]

MAX_ATTEMPTS = 32
"""Spans of attempts of one request. Hardly one has more than two, and one that is recalled time and again must not grow
without bound: later attempts stand under the request's own span."""

MAX_EVENTS = 3 * MAX_ATTEMPTS
"""Events of one request; later ones are left out, but for its end, which is no event."""

NOT_YET = -1.0
"""A time that is not known: of what has not ended, or of what happened in the step that is under way."""


class Attempt:
    """One time that it was given to a worker. `code`: how that ended; "": with a result."""

    __slots__ = ("began", "code", "ended", "number", "over", "span_id", "worker")

    def __init__(self, number: int, worker: str, span_id: str) -> None:
        self.number = number
        self.worker = worker
        self.span_id = span_id
        self.began = self.ended = NOT_YET
        self.over = False
        self.code = ""


class Event:
    """Something that happened to it."""

    __slots__ = ("at", "fields", "name")

    def __init__(self, name: str, fields: dict[str, Any]) -> None:
        self.name = name
        self.fields = fields
        self.at = NOT_YET


class Journey:
    """See above.

    Args:
        touched: where it puts itself whenever something happens to it.

    Attributes:
        parent: the caller's position.
        pool, command: what was asked for.
        span_id: of the request's own span.
        began, ended: the core's time.
        code: how it ended; "": with a result.
        attempts: spans of their own, below the request's.
        events: what happened, oldest first.
    """

    __slots__ = (
        "_touched", "attempts", "began", "code", "command", "ended", "events", "over", "parent", "pool", "span_id",
    )  # fmt: skip

    def __init__(self, parent: Trace, pool: str, command: str, span_id: str, touched: list[Journey]) -> None:
        self._touched = touched
        self.parent = parent
        self.pool = pool
        self.command = command
        self.span_id = span_id
        self.began = self.ended = NOT_YET
        self.over = False
        self.code = ""
        self.attempts: list[Attempt] = []
        self.events: list[Event] = []
        touched.append(self)

    def note(self, event: str, **fields: Any) -> None:
        """Something happened to it."""
        if len(self.events) < MAX_EVENTS:
            self.events.append(Event(event, fields))
            self._touched.append(self)

    def dispatch(self, number: int, worker: str, span_id: str) -> str:
        """It is given to a worker; returns the position to send with it."""
        self.note("dispatched", attempt=number, worker=worker)
        if len(self.attempts) >= MAX_ATTEMPTS:
            span_id = self.span_id
        else:
            self.attempts.append(Attempt(number, worker, span_id))
        return str(self.parent._replace(span_id=span_id))

    def leave(self, event: str, code: str) -> None:
        """Its worker has it no more, and it is not answered."""
        if self._end_attempt(code):
            self.note(event, attempt=self.attempts[-1].number, reason=code)

    def end(self, code: str) -> None:
        """It was answered, or refused, or nobody waits for it any more."""
        if not self.over:
            self.over, self.code = True, code
            self._end_attempt(code)
            self._touched.append(self)

    def stamp(self, now: float) -> None:
        """The step has ended in which it was touched."""
        if self.began == NOT_YET:
            self.began = now
        for event in reversed(self.events):
            if event.at != NOT_YET:
                break
            event.at = now
        for attempt in self.attempts[-2:]:  # one that was lost, and the one after it: a step sees no more of them
            if attempt.began == NOT_YET:
                attempt.began = now
            if attempt.over and attempt.ended == NOT_YET:
                attempt.ended = now

    def _end_attempt(self, code: str) -> bool:
        last = self.attempts[-1] if self.attempts else None
        if last is None or last.over:
            return False
        last.over, last.code = True, code
        return True


def conclude(touched: list[Journey], now: float) -> list[Journey]:
    """Stamp what happened in this step, and forget which it was; returns those that have ended in it."""
    ended: list[Journey] = []
    for journey in touched:
        journey.stamp(now)
        if journey.over and journey.ended == NOT_YET:
            journey.ended = now
            ended.append(journey)
    touched.clear()
    return ended
