"""Events that the application tells (`Context.event`), on their way to the thread that sends them."""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from maitred.protocol import limits, messages
from maitred.protocol.own_events import RESERVED, Allowance

__all__ = ["OwnEvents", "check_event"]

MAX_WAITING = 50
"""Events that wait while the broker is away; with more, the oldest are left out, and counted."""

_NAME = re.compile(messages.EVENT_NAME)


def check_event(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields as they are sent: texts that are too long are cut.

    Raises:
        ValueError: the name or a field's is none, or there are too many fields, or an integer is too large.
        TypeError: a field is neither None, bool, int, float nor str.
    """
    if not isinstance(name, str) or len(name) > limits.MAX_EVENT_CHARS or not _NAME.search(name):  # pyright: ignore[reportUnnecessaryIsInstance]
        text = (
            f"an event is called {name!r}; accepted: small letters, digits, `_`, and dots between words, as cache.full"
        )
        raise ValueError(f"{text}; {limits.MAX_EVENT_CHARS} characters at most")
    if len(fields) > limits.MAX_EVENT_FIELDS:
        raise ValueError(f"event {name}: {len(fields)} fields; {limits.MAX_EVENT_FIELDS} are accepted")
    return {field: _checked(name, field, value) for field, value in fields.items()}


def _checked(name: str, field: str, value: Any) -> Any:
    if field in RESERVED:
        raise ValueError(f"event {name}: each event has a field {field!r} of its own; call yours otherwise")
    if not 0 < len(field) <= limits.MAX_EVENT_CHARS:
        raise ValueError(f"event {name}: a field is called {field[:99]!r}; 1 to {limits.MAX_EVENT_CHARS} characters")
    match value:
        case None | bool():
            return value
        case int():
            if not -(2**63) <= value < 2**63:
                raise ValueError(f"event {name}: {field} is beyond 64 bits")
            return int(value)
        case float():
            return float(value)
        case str():
            whole = value.encode("utf-8", "backslashreplace").decode()
            most = limits.MAX_EVENT_TEXT_CHARS
            return whole if len(whole) <= most else whole[: most - 1] + "…"
        case _:
            text = f"event {name}: {field} is of type {type(value).__name__}; accepted: None, bool, int, float, str"
            raise TypeError(text)


class OwnEvents:
    """Takes them from whichever thread, and gives them to the one that sends.

    Attributes:
        accepted: whether the broker takes any; until it has said so, they wait.
        wake: called after an event was put down.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.accepted: bool | None = None
        self.wake: Callable[[], object] = lambda: None
        self._clock = clock
        self._lock = threading.Lock()
        self._allowance = Allowance()
        self._waiting: deque[messages.WorkerEvent] = deque()

    def tell(self, name: str, fields: Mapping[str, Any], command: str, request: str) -> None:
        """Put one down, if there may be one more. Never waits. Raises as `check_event`."""
        checked = check_event(name, fields)
        if self.accepted is False:
            return
        with self._lock:
            if not self._allowance.take(self._clock()):
                return
            lost, self._allowance.lost = self._allowance.lost, 0
            if len(self._waiting) >= MAX_WAITING:
                lost += 1 + self._waiting.popleft().lost
            event = messages.WorkerEvent(name, checked, command[: limits.MAX_NAME_CHARS], request, lost)
            self._waiting.append(event)
        self.wake()

    def first(self) -> messages.WorkerEvent | None:
        """The oldest, to be sent; it waits until `sent`."""
        with self._lock:
            return self._waiting[0] if self._waiting and self.accepted else None

    def sent(self, event: messages.WorkerEvent) -> None:
        """That one was handed over; it may have been left out meanwhile, for want of room."""
        with self._lock:
            if self._waiting and self._waiting[0] is event:
                self._waiting.popleft()
