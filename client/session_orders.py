"""What is posted to the background thread about sessions: to join one and hear of it, to ask it something, to renew it."""

from __future__ import annotations

import functools

from maitred.client.calls import Answer, refusal
from maitred.client.errors import RequestCancelled, SessionLost, SessionNotFound
from maitred.client.exchange import Exchange, Sink
from maitred.client.lease import Lease, SessionEvent
from maitred.client.orders import Ended, Order
from maitred.protocol import messages
from maitred.protocol.client import Failed
from maitred.protocol.client_events import SessionEndedEvent

__all__ = ["AskOrder", "JoinOrder", "RenewOrder"]

RENEWALS_IN_TTL = 3
"""So often a session is renewed within its time to live: two may be lost, or late."""


class JoinOrder(Order):
    """Opens a session, or attaches to it, and lets its lease hear of it until it ends or is left."""

    __slots__ = ("_lease",)

    def __init__(self, lease: Lease) -> None:
        super().__init__()
        self._lease = lease

    def send(self, exchange: Exchange, request_id: int, ended: Ended, now: float) -> None:
        """Send it."""
        it = self._lease
        exchange.join(it.joining(request_id), it.body, functools.partial(self._hear, ended), now)

    def stop(self, exchange: Exchange) -> None:
        """Hear no more of it."""
        exchange.abandon(self.id)
        self.end(refusal(RequestCancelled("the session was left", outcome="removed")))

    def _hear(self, ended: Ended, event: SessionEvent) -> None:
        if isinstance(event, SessionEndedEvent):
            ended(Failed(event.id, event.error))
        elif isinstance(event, Failed):
            ended(event)
        else:
            self._lease.hear(event)

    def _hand_over(self, answer: Answer) -> None:
        if isinstance(answer, Failed):  # it has no other end
            self._lease.hear(answer)


class AskOrder(Order):
    """Has the broker do something with a session; `sink` gets the answer."""

    __slots__ = ("_key", "_sink", "_verb")

    def __init__(self, key: bytes, verb: str, sink: Sink) -> None:
        super().__init__()
        self._key = key
        self._verb = verb
        self._sink = sink

    def send(self, exchange: Exchange, request_id: int, ended: Ended, now: float) -> None:
        """Send it."""
        exchange.ask(messages.Session(request_id, self._key, self._verb), ended, now)

    def stop(self, exchange: Exchange) -> None:
        """Want no answer any more."""
        exchange.abandon(self.id)
        self.end(refusal(RequestCancelled("the session was left", outcome="removed")))

    def _hand_over(self, answer: Answer) -> None:
        self._sink(answer)


class RenewOrder(AskOrder):
    """Renews a session again and again until it is cancelled, or the session has ended. `ttl` in seconds."""

    __slots__ = ("_pause_s",)

    def __init__(self, key: bytes, ttl: float) -> None:
        super().__init__(key, "renew", lambda _: None)
        self._pause_s = ttl / RENEWALS_IN_TTL

    def again_at(self, answer: Answer, now: float) -> float | None:
        """When the next one is due. A broker that is not there, or full, does not end it."""
        over = isinstance(answer, Failed) and isinstance(answer.error, SessionLost | SessionNotFound)
        return None if over else now + self._pause_s
