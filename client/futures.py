"""The future that `Client.submit` returns."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import Any

from maitred.client.calls import Answer, outcome, result

__all__ = ["RequestFuture"]


class RequestFuture(Future[Any]):
    """The result of a request to come: a `concurrent.futures.Future` that can be cancelled at any time.

    Made by `Client.submit`. It works with `concurrent.futures.wait` and `as_completed`, and `asyncio.wrap_future`.
    Callbacks run in the client's background thread and must not block. As a request can be cancelled until it has ended,
    `running()` is never true.

    Attributes:
        cancel_outcome: what `cancel` did to the work, once that is known (`wait_cancelled`); None before, and where it
            was not cancelled. One of
            "unsent" (it had not left this process), "removed" (it was queued at the broker and never began),
            "stopped", or the worker's own word (it was running and was told to stop),
            "finished" (it ended before it could be told: its result is thrown away),
            "unknown" (the broker was lost), "client_closed".
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        super().__init__()
        self.cancel_outcome: str | None = None
        self._stop = stop
        self._to_stop = [None]
        self._known = threading.Event()

    def cancel(self) -> bool:
        """Have the request stopped, wherever it is. Does not wait.

        Returns:
            True: from now on it is `cancelled()` and `result()` raises `concurrent.futures.CancelledError`.
            False: it had ended.
        """
        if not super().cancel():
            return False
        try:
            self._to_stop.pop()  # whoever gets it does it
        except IndexError:
            return True
        self.set_running_or_notify_cancel()  # wakes `wait` and `as_completed`
        self._stop()
        return True

    def wait_cancelled(self, timeout: float | None = None) -> str | None:
        """Wait until it is known what `cancel` did.

        Args:
            timeout: seconds; None waits as long as it takes.

        Returns:
            `cancel_outcome`; None where the time was over before, or where it was not cancelled.
        """
        if self.cancelled():
            self._known.wait(timeout)
        return self.cancel_outcome

    def take(self, answer: Answer) -> None:
        """Take the terminal answer. Called by the background thread."""
        if not self.cancelled():
            try:
                self._finish(answer)
            except InvalidStateError:  # cancelled between the two lines
                pass
            else:
                return
        self.cancel_outcome = outcome(answer)
        self._known.set()

    def _finish(self, answer: Answer) -> None:
        try:
            value = result(answer)
        except Exception as error:  # MaitredError by contract; anything else must not end the thread
            self.set_exception(error)
        else:
            self.set_result(value)
