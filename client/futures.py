"""The future that `Client.submit` returns."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import Any

from maitred.client.calls import Answer, outcome, result
from maitred.client.errors import PoolSaturated
from maitred.client.places import Place, keep

__all__ = ["RequestFuture"]

_log = logging.getLogger(__name__)


class RequestFuture(Future[Any]):
    """The result of a request to come: a `concurrent.futures.Future` that can be cancelled at any time.

    Made by `Client.submit`. It works with `concurrent.futures.wait` and `as_completed`, and `asyncio.wrap_future`.
    Callbacks run in the client's background thread and must not block. As a request can be cancelled until it has ended,
    `running()` is never true.

    Attributes:
        cancel_outcome: what `cancel` did to the work, once that is known (`wait_cancelled`); None before, and where it
            was not cancelled. One of
            "unsent" (it had not left this process), "removed" (it was queued at the broker and never began),
            "stopped" (it was running, was told, and ended by itself), "interrupted" (an exception was raised in it),
            "killed" (its process was), "abandoned" (it could not be stopped: it runs on and its result is thrown away),
            "finished" (it ended before it could be told: its result is thrown away),
            "unknown" (the broker was lost), "client_closed", or another word of a newer broker's.
    """

    def __init__(self, stop: Callable[[], None], place_of: Callable[[Answer], Place | None] = lambda _: None) -> None:
        super().__init__()
        self.cancel_outcome: str | None = None
        self._place: Place | None = None
        self._place_of = place_of
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

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the result, as any future does.

        Where it raises `PoolSaturated`, the place that the broker keeps is for the next call of whoever asked here.
        """
        try:
            return super().result(timeout)
        except PoolSaturated:
            keep(self._place)
            raise

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
            except BaseException:  # of a callback's own: `sys.exit` there ends no thread of ours
                _log.exception("a callback of a request's future failed")
                return
            else:
                return
        self.cancel_outcome = outcome(answer)
        self._known.set()

    def _finish(self, answer: Answer) -> None:
        try:
            value = result(answer)
        except Exception as error:  # MaitredError by contract; anything else must not end the thread
            self._place = self._place_of(answer)
            self.set_exception(error)
        else:
            self.set_result(value)
