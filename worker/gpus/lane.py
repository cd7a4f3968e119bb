"""Calls that may never return, on a thread of their own, with a time limit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

__all__ = ["Blocked", "Lane"]

_T = TypeVar("_T")


class Blocked(Exception):
    """A call has not returned in time, or one before it still has not."""


class Lane:
    """One thread, which makes one call after another; a call that hangs leaves it hanging, and costs no second thread.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        self._one_at_a_time = threading.Lock()
        self._thread: threading.Thread | None = None
        self._last: Future[Any] | None = None

    def call(self, function: Callable[[], _T], limit_s: float) -> _T:
        """Call a function there; returns or raises what it does.

        Raises:
            Blocked: there is no answer within `limit_s` seconds; at once, where an earlier call still hangs.
        """
        if not self._one_at_a_time.acquire(timeout=limit_s):
            raise Blocked
        try:
            if self._last is not None and not self._last.done():
                raise Blocked
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            answer: Future[_T] = Future()
            self._last = answer
            self._calls.put((function, answer))
            try:
                return answer.result(limit_s)
            except TimeoutError:
                raise Blocked from None
        finally:
            self._one_at_a_time.release()

    def close(self) -> None:
        """The thread ends as soon as it can. No call may follow. Repeatable."""
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            function, answer = call
            try:
                answer.set_result(function())
            except Exception as error:  # it is the caller's
                answer.set_exception(error)
