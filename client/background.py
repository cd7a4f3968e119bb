"""One connection in a thread of its own, for `submit`, `map` and `pressure`: other threads post orders, answers go to
their sinks.

    orders → exchange → socket → exchange → sinks

The thread starts at the first call. It ends when the client is closed, or when no broker answers its HELLO; then all it
holds has failed, and the next call starts another.
"""

from __future__ import annotations

import functools
import heapq
import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable

from maitred.client.calls import Answer, refusal
from maitred.client.errors import InternalError, MaitredError, RequestCancelled
from maitred.client.link import Link, closed_error
from maitred.client.orders import Order
from maitred.client.origin import Origin
from maitred.protocol import limits
from maitred.protocol.client import Failed
from maitred.transport.wake import Wake

__all__ = ["CLOSE_PATIENCE_S", "Background"]

CLOSE_PATIENCE_S = 2.0
"""How long `close` waits for the thread. It needs a millisecond, or longer while a callback of the user's runs."""

_log = logging.getLogger(__name__)


class Background:
    """The thread and what it works on.

    Args:
        make_link: makes the link; called in the thread.
        origin: who is calling.
        closing: the client's, set by `close`.
        connect_timeout: seconds within which the broker must answer, or take a message.
    """

    def __init__(self, make_link: Callable[[], Link], origin: Origin, closing: Wake, connect_timeout: float) -> None:
        self._make_link = make_link
        self._origin = origin
        self._closing = closing
        self._connect_timeout = connect_timeout
        self._wake = Wake()
        self._lock = threading.RLock()  # what is dropped is cancelled: by a collector that runs wherever it likes
        self._orders: deque[Order] = deque()
        self._over: MaitredError | None = None
        self._live: dict[int, Order] = {}
        self._resting: list[tuple[float, int, Order]] = []
        self._stuck_since = math.inf
        self._thread = threading.Thread(target=self._run, name="maitred-client", daemon=True)
        self._thread.start()

    # --- from any thread ---

    def send(self, order: Order) -> bool:
        """Post an order; False where the thread has ended: another one is needed."""
        with self._lock:
            if self._over is not None:
                return False
            self._orders.append(order)
        self._wake.set()
        return True

    def cancel(self, order: Order) -> None:
        """Have an order stopped; its sink still gets a terminal answer."""
        if self._origin.pid != os.getpid():
            return
        order.cancelled = True
        with self._lock:
            if self._over is not None:
                return
            self._orders.append(order)
        self._wake.set()

    def close(self) -> bool:
        """Have the thread end; what it holds fails. Returns whether it has ended."""
        if self._origin.pid != os.getpid():
            return True
        self._closing.set()
        if self._thread is not threading.current_thread():
            self._thread.join(CLOSE_PATIENCE_S)
        return not self._thread.is_alive()

    def is_current(self) -> bool:
        """Whether the caller is in it: in a callback, which must not wait for what this thread would have to do."""
        return self._thread is threading.current_thread()

    # --- in the thread ---

    def _run(self) -> None:
        error: MaitredError = closed_error()
        try:
            link = self._make_link()
            try:
                link.open(self._connect_timeout)
                link.also_wake(self._wake)
                self._serve(link)
            finally:
                link.close()
        except MaitredError as reason:
            error = reason
        except BaseException as reason:  # whatever it is: what waits for this thread must not wait for ever
            _log.exception("the client's background thread failed: this is a bug in maitred, please report it")
            error = InternalError(f"the client's background thread failed: {reason!r}")
        self._end(error)

    def _serve(self, link: Link) -> None:
        while not self._closing.raised:
            if link.woken:
                link.woken = False
                self._wake.clear()
            now = time.monotonic()
            while self._resting and self._resting[0][0] <= now:
                self._orders.appendleft(heapq.heappop(self._resting)[2])
            self._carry_out(link, now)
            link.wait(
                min(self._resting[0][0] if self._resting else math.inf, self._stuck_since + self._connect_timeout)
            )

    def _carry_out(self, link: Link, now: float) -> None:
        while link.flush():
            self._stuck_since = math.inf
            if not self._orders:
                return
            for _ in range(min(len(self._orders), limits.MAX_BUNDLE_MESSAGES)):  # what they say leaves together
                self._follow(self._orders.popleft(), link, time.monotonic())
        self._stuck_since = min(self._stuck_since, now)
        if link.refused or now - self._stuck_since >= self._connect_timeout:
            self._refuse_unsent(link)

    def _follow(self, order: Order, link: Link, now: float) -> None:
        if order.done:
            return
        if order.cancelled and not order.id:
            order.end(refusal(RequestCancelled("the request was cancelled before it was sent", outcome="unsent")))
        elif order.cancelled:
            order.stop(link.exchange)
            if order.done:
                self._live.pop(order.id, None)
        elif not order.id:
            self._send(order, link, now)

    def _send(self, order: Order, link: Link, now: float) -> None:
        request_id = next(self._origin.numbers)
        order.id = request_id
        self._live[request_id] = order
        try:
            order.send(link.exchange, request_id, functools.partial(self._take, order), now)
        except MaitredError as error:
            del self._live[request_id]
            order.end(Failed(request_id, error))

    def _take(self, order: Order, answer: Answer) -> None:
        self._live.pop(order.id, None)
        now = time.monotonic()
        again_at = None if order.cancelled else order.again_at(answer, now)
        if again_at is None:
            order.end(answer)
        else:
            heapq.heappush(self._resting, (again_at, order.id, order))
            order.id = 0

    def _refuse_unsent(self, link: Link) -> None:
        """Nothing has left for too long: whatever waits to be sent will not be."""
        self._stuck_since = math.inf
        unsent = [order for order in self._live.values() if link.exchange.withdraw(order.id)]
        for order in unsent:
            del self._live[order.id]
        with self._lock:
            orders, self._orders = self._orders, deque()
        for order in (*unsent, *(order for order in orders if not order.id)):
            self._take(order, refusal(link.not_there()))
        self._orders.extend(order for order in orders if order.id and not order.done)

    def _end(self, error: MaitredError) -> None:
        with self._lock:
            self._over = error
        held = [*self._live.values(), *self._orders, *(order for *_, order in self._resting)]
        for order in held:
            order.end(refusal(type(error)(error.message, **error.details)))
