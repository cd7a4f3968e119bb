"""What `map` does next, without I/O: a window over the items, results in order, and restraint when the pool is full.

    due(now) → an item to send, or None     arrived(item, answer, now)     ready · take()     wake_at · finished

At most `window` items are taken from the iterable and not yielded yet. How many of them are under way at a time adapts:

    refused         what was accepted is what fits: no more than that is under way until the pause is over
    level "full"    a fifth less, once for each round of answers and each second, and never less than one
    level "high"    as it is
    level "ok"      one more for each round of answers, up to the window

A freed place is used at once. Where refusals come with tickets, the broker keeps a place for each from some time on: then
an item is sent with it, whatever else is under way. Tickets are alike: the earliest goes to the item that comes first.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from msgspec.structs import replace

from maitred.client.calls import Answer, Backoff, Call, Options, result
from maitred.client.errors import PoolSaturated
from maitred.protocol.client import Failed, Replied
from maitred.protocol.messages import LEVEL_FULL, LEVEL_OK

__all__ = ["DEFAULT_MAP_WINDOW", "NOT_YET", "Item", "MapPlan"]

DEFAULT_MAP_WINDOW = 64
"""Items under way, or done and not yielded yet: bounds memory, and hides a round trip at thousands of items a second."""

NOT_YET: Mapping[str, Any] = MappingProxyType({})
"""What an iterable gives that has nothing yet and would not hold results back. It is asked again at once, and so decides
how long to wait each time."""

LESS_WHEN_FULL = 0.8
"""A pool is full until it is below nine tenths of its bounds. Where all that fills it is this map, one step ends that, and
leaves its workers as busy as before."""

LEVEL_SETTLES_S = 1.0
"""Between two such steps: a level is held for a while before it falls, and says nothing new meanwhile of this map."""


class Item:
    """One item. Exactly one of `call` and `error` is there: its arguments could be encoded, or not."""

    __slots__ = ("answer", "call", "error", "fatal", "number", "refusal", "sent_as", "under_way")

    def __init__(self, number: int, call: Call | None, error: Exception | None, *, fatal: bool = True) -> None:
        self.number = number
        self.call = call
        self.error = error
        self.fatal = fatal
        """Whether its error ends the whole."""
        self.answer: Answer | None = None
        self.refusal: Answer | None = None
        self.sent_as = 0
        self.under_way: Any = None
        """Whatever the driver needs to cancel it; None while it is not under way."""

    def __lt__(self, other: Item) -> bool:
        return self.number < other.number


class MapPlan:
    """See above.

    Args:
        pool, command, options: of each item; `on_saturated="raise"` gives an item up at its first refusal.
        items: arguments, consumed as there is room, or NOT_YET.
        window: items at a time.
        return_exceptions: whether what goes wrong with an item is given at its place instead of being raised there.

    Raises:
        ValueError: the window or an option makes no sense.
    """

    def __init__(
        self,
        pool: str | None,
        command: str,
        items: Iterable[Mapping[str, Any]],
        options: Options,
        window: int = DEFAULT_MAP_WINDOW,
        backoff: Backoff | None = None,
        return_exceptions: bool = False,
    ) -> None:
        if isinstance(window, bool) or not isinstance(window, int) or window < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"window is {window!r}; accepted: an int of at least 1")
        Call(pool, command, None, options)  # whatever is wrong with these is wrong with every item
        self._pool = pool
        self._command = command
        self._source = iter(items)
        self._options = replace(options, on_saturated="raise")
        self._returns = return_exceptions
        self._waits = options.on_saturated == "wait"
        self._window = window
        self._backoff = backoff or Backoff()
        self._items: deque[Item] = deque()
        self._refused: list[Item] = []
        self._places: list[tuple[float, int]] = []  # from when on, and the ticket
        self._sent = 0
        self._shrunk_after = 0
        self._shrink_at = 0.0
        self._taken = 0
        self._exhausted = False
        self._source_waits = False
        self._under_way = 0
        self._limit = float(window)
        self._resume_at: float | None = None

    def due(self, now: float) -> Item | None:
        """The next item to be sent, or None; once given, it is under way until `arrived`."""
        kept = bool(self._places) and now >= self._places[0][0]
        if not self._may_send(now) and not (kept and self._refused):
            return None
        item = self._next_refused(now) or (None if kept else self._take_item())
        if item is None or item.call is None:
            return None
        if item.refusal is None:
            item.call.begin(now)
        self._under_way += 1
        self._sent += 1
        item.sent_as = self._sent
        if kept:
            self._limit = max(self._limit, float(self._under_way))
        return item

    def arrived(self, item: Item, answer: Answer, now: float) -> None:
        """An item's terminal answer."""
        self._under_way -= 1
        item.under_way = None
        if isinstance(answer, Failed) and isinstance(answer.error, PoolSaturated) and self._waits:
            item.refusal = answer
            self._rest_or_give_up(item, self._give_way(answer.error, now))
            return
        item.answer = answer
        self._backoff.reset()
        if isinstance(answer, Replied | Failed):
            self._adapt(item, answer.level, now)

    @property
    def ready(self) -> bool:
        """Whether `take` has something."""
        first = self._items[0] if self._items else None
        return first is not None and (first.error is not None or first.answer is not None)

    def take(self) -> Any:
        """The next result in order.

        Raises:
            Exception: what went wrong with this item: in the pool, while encoding it, or in the iterable.
        """
        item = self._items.popleft()
        if item.error is not None:
            if item.fatal:
                raise item.error
            return item.error
        assert item.answer is not None
        if not self._returns:
            return result(item.answer)
        try:
            return result(item.answer)
        except Exception as error:
            return error

    @property
    def finished(self) -> bool:
        """Whether all of them were taken."""
        return self._exhausted and not self._items

    @property
    def wake_at(self) -> float | None:
        """When `due` may have something again by time alone."""
        if self._source_waits:
            return 0.0
        if self._places and self._refused:
            return self._places[0][0] if self._resume_at is None else min(self._places[0][0], self._resume_at)
        return self._resume_at

    def close(self) -> list[Any]:
        """Forget everything; returns the `under_way` of what is still to be cancelled."""
        left = [item.under_way for item in self._items if item.under_way is not None]
        self._items.clear()
        self._refused.clear()
        self._exhausted = True
        return left

    def _may_send(self, now: float) -> bool:
        if self._resume_at is not None and now >= self._resume_at:
            self._resume_at = None
            self._limit = max(1.0, self._limit)
        return self._under_way < int(self._limit)

    def _adapt(self, item: Item, level: int, now: float) -> None:
        if level == LEVEL_FULL:
            if item.sent_as > self._shrunk_after and now >= self._shrink_at:  # it was sent since the last step
                self._shrunk_after, self._shrink_at = self._sent, now + LEVEL_SETTLES_S
                in_use = self._under_way + 2.0  # with this one, and the limit's fraction
                self._limit = max(1.0, min(self._limit, in_use) * LESS_WHEN_FULL)
        elif level == LEVEL_OK and self._resume_at is None:
            self._limit = min(float(self._window), self._limit + 1.0 / max(1.0, self._limit))

    def _give_way(self, error: PoolSaturated, now: float) -> float:
        """Do with less; returns when the item that was refused may be sent again."""
        self._limit = float(self._under_way)
        at = self._resume_at
        if at is None or error.retry_after is not None:  # else: many refused at once are one reason to wait
            at = now + self._backoff.pause(error)
            self._resume_at = max(at, self._resume_at or 0.0)
        if error.ticket is None:
            return self._resume_at or at
        heapq.heappush(self._places, (at, error.ticket))
        return at

    def _rest_or_give_up(self, item: Item, at: float) -> None:
        deadline = None if item.call is None else item.call.deadline
        if deadline is not None and at >= deadline:
            item.answer = item.refusal
        else:
            heapq.heappush(self._refused, item)

    def _next_refused(self, now: float) -> Item | None:
        while self._refused:
            item = heapq.heappop(self._refused)
            deadline = None if item.call is None else item.call.deadline
            if item.call is not None and (deadline is None or now < deadline):
                item.call.ticket = heapq.heappop(self._places)[1] if self._places else 0
                return item
            item.answer = item.refusal  # it never got in
        self._places.clear()  # whoever they were for has been answered
        return None

    def _take_item(self) -> Item | None:
        if self._exhausted or len(self._items) >= self._window:
            return None
        call, error, ends = None, None, True
        try:
            args = next(self._source)
            self._source_waits = args is NOT_YET
            if self._source_waits:
                return None
            ends = not self._returns
            call = Call(self._pool, self._command, args, self._options)
        except StopIteration:
            self._exhausted, self._source_waits = True, False
            return None
        except Exception as reason:  # of these arguments, or the iterable's own
            error = reason
        self._taken += 1
        item = Item(self._taken, call, error, fatal=ends)
        self._exhausted = error is not None and ends  # raising it ends the whole
        self._items.append(item)
        return item
