"""What other threads post to the background thread: a call, or a watch of a pool's pressure. Each ends once."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeAlias

from maitred.client.calls import Answer, Call, refusal
from maitred.client.errors import RequestCancelled
from maitred.client.exchange import Exchange, Sink, WatchSink
from maitred.protocol.client import Failed, PressureChanged

__all__ = ["CallOrder", "Order", "WatchOrder"]

Ended: TypeAlias = Callable[[Answer], object]
"""Takes the terminal answer of an attempt."""


class Order(ABC):
    """One order. `id` is 0 while the broker has it not."""

    __slots__ = ("cancelled", "done", "id")

    def __init__(self) -> None:
        self.id = 0
        self.cancelled = False
        self.done = False

    def __lt__(self, other: Order) -> bool:
        return False  # two that rest until the same moment: whichever

    @abstractmethod
    def send(self, exchange: Exchange, request_id: int, ended: Ended, now: float) -> None:
        """Send it. `ended` may be called before this returns. Raises what makes it impossible."""

    @abstractmethod
    def stop(self, exchange: Exchange) -> None:
        """Have it stopped; it was sent."""

    def again_at(self, answer: Answer, now: float) -> float | None:
        """When to send it again after this answer; None: not at all."""
        return None

    def end(self, answer: Answer) -> None:
        """Hand over the terminal answer, once."""
        if not self.done:
            self.done = True
            self._hand_over(answer)

    @abstractmethod
    def _hand_over(self, answer: Answer) -> None: ...


class CallOrder(Order):
    """A call; `sink` gets its terminal answer."""

    __slots__ = ("_sink", "call")

    def __init__(self, call: Call, sink: Sink) -> None:
        super().__init__()
        self.call = call
        self._sink = sink

    def send(self, exchange: Exchange, request_id: int, ended: Ended, now: float) -> None:
        """Send it."""
        exchange.request(self.call, request_id, ended, now)

    def stop(self, exchange: Exchange) -> None:
        """Have it stopped; its terminal answer still comes."""
        exchange.cancel(self.id)

    def again_at(self, answer: Answer, now: float) -> float | None:
        """When to send it again."""
        return self.call.again_at(answer, now)

    def _hand_over(self, answer: Answer) -> None:
        if not self.id and isinstance(answer, Failed):
            self.call.not_sent(answer.error)
        self._sink(answer)


class WatchOrder(Order):
    """A watch of a pool's pressure; `sink` gets what comes, and `Failed` at its end."""

    __slots__ = ("_pool", "_sink")

    def __init__(self, pool: str, sink: WatchSink) -> None:
        super().__init__()
        self._pool = pool
        self._sink = sink

    def send(self, exchange: Exchange, request_id: int, ended: Ended, now: float) -> None:
        """Send it."""
        exchange.watch(request_id, self._pool, functools.partial(self._hear, ended), now)

    def stop(self, exchange: Exchange) -> None:
        """End it."""
        exchange.abandon(self.id)
        self.end(refusal(RequestCancelled("the watch was closed", outcome="removed")))

    def _hear(self, ended: Ended, event: PressureChanged | Failed) -> None:
        if isinstance(event, Failed):
            ended(event)
        elif not self.cancelled:
            self._sink(event)

    def _hand_over(self, answer: Answer) -> None:
        if isinstance(answer, Failed):  # a watch has no other end
            self._sink(answer)
