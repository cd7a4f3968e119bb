"""What a request, or a batch of them, answers under trio: the function is run here, in the loop or in a thread of its own.

Who runs where, and how it is told to stop:

| function | runs | told to stop by |
| --- | --- | --- |
| async | in the loop | its cancel scope, at once: it ends at its next `await`, which a function under trio has to expect |
| sync, one slot | in the loop, which it holds up | its flag; then an exception, by a signal (`worker.interrupt`) |
| sync, more slots | in a thread | its flag alone: nothing can be raised in another thread's blocking call |
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, cast

import trio

from maitred.protocol.frames import Frames
from maitred.worker import answers
from maitred.worker.batch import Answer, Batch
from maitred.worker.context import Cancelled
from maitred.worker.invoke import ainvoke, invoke
from maitred.worker.requests import Requests
from maitred.worker.running import Run
from maitred.worker.service import Command

__all__ = ["TrioAnswers"]

Send = Callable[[Frames], Awaitable[None]]
"""Hands a part to ZeroMQ, waiting while the broker is away; raises Cancelled where it cannot."""


class TrioAnswers:
    """Runs functions.

    Args:
        requests: the process's.
        slots: functions that run at a time, which the loop sees to.
        send: the way out for parts.
    """

    def __init__(self, requests: Requests, slots: int, send: Send) -> None:
        self._requests = requests
        self._send = send
        self._limiter = trio.CapacityLimiter(slots)

    async def answer(self, run: Run, body: Sequence[Any]) -> Frames:
        """Run one request."""
        began = time.perf_counter()
        read = self._requests.read(run, body)
        if isinstance(read, list):
            return read
        command, kwargs = read
        stream = _Stream(self._send, run, self._requests.max_message_bytes)
        with trio.CancelScope() as scope:
            try:
                value = await self._invoke(command, kwargs, run, stream, scope)
            except trio.Cancelled:
                raise
            except BaseException as error:  # whatever an application raises, its caller is answered
                if not (run.context.cancelled and _only_stopped(error)):
                    ran_s = time.perf_counter() - began
                    return answers.failure(run.order, error, run.context, ran_s=ran_s, outcome=run.outcome)
            else:
                run.returned = True
                ran_s = time.perf_counter() - began
                return answers.result(run.order, value, self._requests.max_message_bytes, ran_s=ran_s)
        return answers.failure(run.order, run.interrupt(), run.context, outcome=run.outcome)

    async def batch(self, command: Command, batch: Batch) -> list[Answer]:
        """Run several requests as one call."""
        began = time.perf_counter()
        with trio.CancelScope() as scope:
            try:
                value = await self._call(command, batch, scope)
            except trio.Cancelled:
                raise
            except BaseException as error:  # as in `answer`
                if not (batch.unwanted and _only_stopped(error)):
                    return batch.failures(error, time.perf_counter() - began)
            else:
                return batch.results(value, time.perf_counter() - began)
        return batch.failures(batch.interrupt(), time.perf_counter() - began)

    async def _invoke(
        self, command: Command, kwargs: dict[str, Any], run: Run, stream: _Stream, scope: trio.CancelScope
    ) -> Any:
        if self._requests.in_threads and not command.is_async:
            call = partial(invoke, command, kwargs, run.context, stream.emit_from_thread)
            return await trio.to_thread.run_sync(call, limiter=self._limiter)
        self._watch([run], scope, stream.wake)
        return await ainvoke(command, kwargs, run.context, stream.emit, partial(self._requests.window.call, run))

    async def _call(self, command: Command, batch: Batch, scope: trio.CancelScope) -> Any:
        if command.is_async:
            self._watch(batch.runs, scope, lambda: None)
            return await batch.arun()
        if self._requests.in_threads:
            return await trio.to_thread.run_sync(batch.run, limiter=self._limiter)
        return batch.run(partial(self._requests.window.call, batch))

    def _watch(self, runs: Sequence[Run], scope: trio.CancelScope, wake: Callable[[], object]) -> None:
        """Have a cancel, a grant or the deadline reach the function; of several requests, the last one's cancel."""
        token = trio.lowlevel.current_trio_token()

        def look() -> None:
            if all(run.context.cancelled for run in runs):
                scope.cancel()
            wake()

        for run in runs:
            run.on_change = partial(token.run_sync_soon, look)
        scope.deadline = trio.current_time() + max((run.context.remaining or 0.0 for run in runs), default=0.0)
        look()


def _only_stopped(error: BaseException) -> bool:
    """Whether it is no more than what a nursery makes of the order to stop."""
    if not isinstance(error, BaseExceptionGroup):
        return False
    group = cast("BaseExceptionGroup[BaseException]", error)
    _, rest = group.split((trio.Cancelled, Cancelled, GeneratorExit))
    return rest is None


class _Stream:
    """The parts of one request, under the credit of its reader."""

    def __init__(self, send: Send, run: Run, max_message_bytes: int) -> None:
        self._changed = trio.Event()
        self._send = send
        self._run = run
        self._max_message_bytes = max_message_bytes
        self._number = 0

    def wake(self) -> None:
        """There may be room."""
        self._changed.set()

    async def emit(self, value: Any) -> None:
        """Send a part, once the reader has room for it."""
        run = self._run
        if not run.credit.wanted:
            await trio.lowlevel.checkpoint()
            return
        while not run.credit.take_now():
            self._changed = trio.Event()
            if run.credit.take_now():
                break
            await self._changed.wait()
        await self._send(self._next(value))

    def emit_from_thread(self, value: Any) -> None:
        """Do so from the function's own thread; the part is encoded there."""
        if self._run.credit.wanted:
            self._run.credit.take(self._run.context)
            trio.from_thread.run(self._send, self._next(value))

    def _next(self, value: Any) -> Frames:
        message = answers.part(self._run.order, self._number, value, self._max_message_bytes)
        self._number += 1
        return message
