"""What the asynchronous client's calls return: a request, a stream, a map; each gives its answers up when it is dropped."""

from __future__ import annotations

import functools
import time
from collections import deque
from typing import Any

import anyio
import anyio.lowlevel

from maitred.client.async_link import AsyncLink
from maitred.client.calls import Answer, Call, outcome, refusal, result
from maitred.client.dropped import Dropped
from maitred.client.errors import MaitredError, RequestCancelled
from maitred.client.mapping import Item, MapPlan
from maitred.client.origin import Origin
from maitred.client.places import Place, claim, keep
from maitred.protocol.client import PartArrived

__all__ = ["AsyncMap", "AsyncRequest", "AsyncStream", "Mailbox"]


class Mailbox:
    """What came for one request and was not taken yet."""

    __slots__ = ("_answers", "_came")

    def __init__(self) -> None:
        self._answers: deque[Answer] = deque()
        self._came: anyio.Event | None = None

    def put(self, answer: Answer) -> None:
        """Take an answer in; never blocks."""
        self._answers.append(answer)
        if self._came is not None:
            self._came.set()

    async def get(self) -> Answer:
        """Wait for the next one. Cancelled, it has taken none."""
        if self._answers:
            await anyio.lowlevel.checkpoint()
        while not self._answers:
            self._came = anyio.Event()
            await self._came.wait()
        return self._answers.popleft()


class AsyncStream(Dropped):
    """The parts of one request, and last its result: `async for part in client.stream(…)`.

    Cancelling whoever waits for a part has the request stopped.
    """

    def __init__(self, link: AsyncLink, origin: Origin, call: Call) -> None:
        super().__init__(link, origin)
        self._call = call
        self._mailbox = Mailbox()
        self._request_id = 0
        self._taken = 0
        self._over = False

    async def __anext__(self) -> Any:
        if self._over:
            raise StopAsyncIteration
        try:
            answer = await self._next()
            value = result(answer)
        except BaseException:
            self.close()
            raise
        if isinstance(answer, PartArrived):
            self._grant()
        else:
            self._over = True
        return value

    def close(self) -> None:
        """Have the request stopped. Repeatable; does not wait."""
        self._over = True
        self._link.abandon(self._request_id)

    async def _next(self) -> Answer:
        if self._request_id:
            return await self._mailbox.get()
        now = time.monotonic()
        self._call.begin(now)
        claim(self._call, self._origin, now)
        while True:
            self._request_id = next(self._origin.numbers)
            await self._link.send(self._call, self._request_id, self._mailbox.put)
            answer = await self._mailbox.get()
            now = time.monotonic()
            again_at = self._call.again_at(answer, now)
            if again_at is None:
                keep(Place.of(answer, self._call, self._origin, now))
                return answer
            await anyio.sleep(again_at - now)

    def _grant(self) -> None:
        self._taken += 1
        if self._taken == self._call.window // 2:
            self._link.grant(self._request_id, self._taken)
            self._taken = 0


class _Arrivals:
    """A plan, and a way to wait for its next answer. The sinks hold this, and not the map, which can thus be dropped."""

    def __init__(self, plan: MapPlan) -> None:
        self.plan = plan
        self._came: anyio.Event | None = None

    def take(self, item: Item, answer: Answer) -> None:
        self.plan.arrived(item, answer, time.monotonic())
        if self._came is not None:
            self._came.set()

    async def wait(self) -> None:
        """Wait for the next one, or until the plan has something to send."""
        self._came = anyio.Event()
        wake_at = self.plan.wake_at
        with anyio.move_on_after(None if wake_at is None else max(0.0, wake_at - time.monotonic())):
            await self._came.wait()


class AsyncMap(Dropped):
    """The results of many requests in order: `async for value in client.map(…)`.

    Cancelling whoever waits for a result has all of them stopped.
    """

    def __init__(self, link: AsyncLink, origin: Origin, plan: MapPlan) -> None:
        super().__init__(link, origin)
        self._plan = plan
        self._arrivals = _Arrivals(plan)

    async def __anext__(self) -> Any:
        plan = self._plan
        try:
            while not plan.finished:
                await self._send_due()
                if plan.ready:
                    await anyio.lowlevel.checkpoint()
                    return plan.take()
                if not plan.finished:
                    await self._arrivals.wait()
        except BaseException:
            self.close()
            raise
        raise StopAsyncIteration

    def close(self) -> None:
        """Have what is under way stopped. Repeatable; does not wait."""
        for request_id in self._plan.close():
            self._link.abandon(request_id)

    async def _send_due(self) -> None:
        while (item := self._plan.due(time.monotonic())) is not None:
            assert item.call is not None
            item.under_way = next(self._origin.numbers)
            try:
                await self._link.send(item.call, item.under_way, functools.partial(self._arrivals.take, item))
            except MaitredError as error:
                self._arrivals.take(item, refusal(error))


class AsyncRequest:
    """A request that was submitted: `await request.result()`. It goes on whether or not anybody waits for it.

    Attributes:
        cancel_outcome: what `cancel` did to the work, once that is known (when `result` returns or raises); None before,
            and where it was not cancelled. Words as in `RequestFuture.cancel_outcome`.
    """

    def __init__(self, link: AsyncLink, origin: Origin, call: Call) -> None:
        self.cancel_outcome: str | None = None
        self._link = link
        self._origin = origin
        self._call = call
        self._request_id = 0
        self._cancelled = False
        self._answer: Answer | None = None
        self._place: Place | None = None
        self._ended = anyio.Event()

    async def send(self) -> None:
        """Send it. Called by `AsyncClient.submit`."""
        self._request_id = next(self._origin.numbers)
        await self._link.send(self._call, self._request_id, self._take)

    async def result(self) -> Any:
        """Wait for its result. Cancelled, it leaves the request alone, and may be awaited again.

        Raises:
            MaitredError: one of `maitred.client.errors`; `RequestCancelled` where `cancel` came in time.
        """
        await self._ended.wait()
        assert self._answer is not None
        keep(self._place)
        return result(self._answer)

    def done(self) -> bool:
        """Whether it has ended."""
        return self._ended.is_set()

    def cancel(self) -> bool:
        """Have it stopped, wherever it is. Does not wait: `result` tells how it ended. False: it had ended."""
        if self.done():
            return False
        if not self._cancelled:
            self._cancelled = True
            if self._request_id:
                self._link.cancel(self._request_id)
            else:
                self._end(refusal(RequestCancelled("the request was cancelled before it was sent", outcome="unsent")))
        return True

    def _take(self, answer: Answer) -> None:
        again_at = None if self._cancelled else self._call.again_at(answer, time.monotonic())
        if again_at is None:
            self._end(answer)
        else:
            self._request_id = 0
            self._link.call_at(again_at, self._send_again)

    def _send_again(self) -> None:
        if self.done():
            return
        self._request_id = next(self._origin.numbers)
        try:
            self._link.post(self._call, self._request_id, self._take)
        except MaitredError as error:
            self._end(refusal(error))

    def _end(self, answer: Answer) -> None:
        self._answer = answer
        self._place = Place.of(answer, self._call, self._origin, time.monotonic())
        if self._cancelled:
            self.cancel_outcome = outcome(answer)
        self._ended.set()
