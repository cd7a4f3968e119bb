"""The loop of a worker that has async functions: one trio loop for the life of the process.

Synchronous functions of such a service run in the loop too, and hold it up meanwhile.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import trio
import zmq

from maitred.protocol import messages
from maitred.protocol.errors import MaitredError
from maitred.protocol.frames import Frames
from maitred.protocol.worker import RequestsConnection
from maitred.transport.errors import WouldBlock
from maitred.transport.pump import Pump
from maitred.worker import answers
from maitred.worker.calling import AsyncCalls
from maitred.worker.context import Cancelled
from maitred.worker.control import Control
from maitred.worker.invoke import ainvoke
from maitred.worker.requests import Requests
from maitred.worker.running import Run

__all__ = ["TrioLoop"]

IDLE_S = 1.0
"""An idle worker says so this often on the connection its requests come by: a broken one is found, and made anew."""

RETRY_S = 0.02
"""An answer waits for a broker that is away, and is tried again this often."""

WAIT_FOR_BROKER_S = 0.5
"""After SIGTERM it waits no longer than this."""


class TrioLoop:
    """Serves until SIGTERM. Arguments as `PlainLoop`, but it owns the socket.

    Args:
        clients_endpoint: where `acall` calls.
        slots: requests that run at a time.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        connection: RequestsConnection,
        requests: Requests,
        control: Control,
        clients_endpoint: str | None,
        slots: int,
    ) -> None:
        self._clients_endpoint = clients_endpoint
        self._calls: AsyncCalls | None = None
        self._pump = Pump([socket], self._receive, on_idle=self._register_if_stranger)
        self._connection = connection
        self._requests = requests
        self._control = control
        self._nursery: trio.Nursery | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._left = trio.Event()
        self._stranger = False
        self._stopping = False
        self._owing = False
        self._slots = slots
        self._runs = 0
        self._waiting: deque[tuple[messages.Dispatch, Sequence[Any]]] = deque()
        self._taken: deque[tuple[Run, Sequence[Any]]] = deque()
        self._refusal: MaitredError | None = None

    async def run(self) -> None:
        """Register, serve, leave.

        Raises:
            MaitredError: the broker refused this worker.
        """
        self._token = trio.lowlevel.current_trio_token()
        self._requests.page.mark_loaded()
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                await self._serve_until_told_to_end(nursery)
                nursery.cancel_scope.cancel()
        finally:
            self._pump.close()
        if self._refusal is not None:
            raise self._refusal

    async def _serve_until_told_to_end(self, nursery: trio.Nursery) -> None:
        if self._clients_endpoint is not None:
            self._calls = AsyncCalls(self._clients_endpoint, nursery)
        await nursery.start(self._pump.run)
        nursery.start_soon(self._stay_in_touch)
        nursery.start_soon(self._register)
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                break
        self._stopping = True
        while self._runs:
            self._left = trio.Event()
            await self._left.wait()
        if not self._owing:  # after LEAVE, what is unanswered counts as never begun
            with contextlib.suppress(WouldBlock):
                self._pump.send(0, self._connection.leave())

    async def _stay_in_touch(self) -> None:
        while True:
            await trio.sleep(IDLE_S)
            if not self._runs:
                with contextlib.suppress(WouldBlock):
                    self._pump.send(0, self._connection.heartbeat())

    def _register_if_stranger(self) -> None:
        """All that has arrived was taken: what is not named as held from here on is lost."""
        if self._stranger and self._nursery is not None:
            self._stranger = False
            taken = (self._take() for _ in range(len(self._waiting)))
            self._taken.extend((run, body) for run, body in taken if run is not None)
            self._nursery.start_soon(self._register)

    async def _register(self) -> None:
        while not await self._send(self._connection.register(), wait=False):  # noqa: ASYNC110 - only time will tell
            await trio.sleep(RETRY_S)

    def _receive(self, _index: int, message: Sequence[Any]) -> None:
        assert self._nursery is not None
        try:
            order, body = self._connection.receive(message)
        except MaitredError as error:
            self._refusal = error
            self._nursery.cancel_scope.cancel()
            return
        match order:
            case messages.Dispatch():
                self._waiting.append((order, body))
                self._begin_more()
            case messages.WorkerCancel():
                self._requests.running.cancel((order.client, order.id), order.reason)
            case messages.WorkerGrant():
                self._requests.running.grant((order.client, order.id), order.parts)
            case messages.Welcome():
                self._requests.welcomed(order)
                self._requests.page.mark_ready()
                self._control.begin(order.interval)
            case messages.Stranger():
                self._stranger = True
            case _:
                pass

    def _begin_more(self) -> None:
        """Begin what lies ready, as far as there is room; what was sent ahead waits, and may be recalled meanwhile."""
        assert self._nursery is not None
        while (self._taken or self._waiting) and self._runs < self._slots and not self._stopping:
            run, body = self._taken.popleft() if self._taken else self._take()
            if run is not None:
                self._runs += 1
                self._nursery.start_soon(self._serve, run, body)

    def _take(self) -> tuple[Run | None, Sequence[Any]]:
        order, body = self._waiting.popleft()
        return self._requests.take(order, self._calls.call if self._calls else None), body

    async def _serve(self, run: Run, body: Sequence[Any]) -> None:
        order = run.order
        slot = self._requests.page.begin(order.client, order.id, run.context.deadline or 0.0)
        try:
            if await self._send(await self._answer(run, body)):
                self._requests.page.end(slot)
                self._requests.running.end(run)
            else:
                self._owing = True
        finally:
            self._runs -= 1
            self._left.set()
            self._begin_more()

    async def _answer(self, run: Run, body: Sequence[Any]) -> Frames:
        began = time.perf_counter()
        read = self._requests.read(run, body)
        if isinstance(read, list):
            return read
        command, kwargs = read
        stream = _Stream(self, run)
        with trio.CancelScope() as scope:
            self._watch(run, scope, stream)
            try:
                value = await ainvoke(command, kwargs, run.context, stream.emit)
            except trio.Cancelled:
                raise
            except BaseException as error:  # whatever an application raises, its caller is answered
                if not (run.context.cancelled and _only_stopped(error)):
                    return answers.failure(run.order, error, run.context, ran_s=time.perf_counter() - began)
            else:
                ran_s = time.perf_counter() - began
                return answers.result(run.order, value, self._requests.max_message_bytes, ran_s=ran_s)
        reason = run.context.cancel_reason or "deadline"
        return answers.failure(run.order, Cancelled(reason), run.context)

    def _watch(self, run: Run, scope: trio.CancelScope, stream: _Stream) -> None:
        """Have a cancel, a grant or the deadline reach the function."""
        token = self._token
        assert token is not None

        def look() -> None:
            if run.context.cancelled:
                scope.cancel()
            stream.changed.set()

        run.on_change = partial(token.run_sync_soon, look)
        scope.deadline = trio.current_time() + (run.context.remaining or 0.0)
        if run.context.cancelled:
            scope.cancel()

    async def send_part(self, message: Frames) -> None:
        """Hand a part to ZeroMQ; waits while the broker is away.

        Raises:
            Cancelled: this worker ends; a stream without the part would be a wrong one.
        """
        if not await self._send(message):
            raise Cancelled("draining")

    @property
    def max_message_bytes(self) -> int:
        """What the broker accepts."""
        return self._requests.max_message_bytes

    async def _send(self, message: Frames, *, wait: bool = True) -> bool:
        """Hand a message to ZeroMQ; False where it was given up: while the broker is away, it waits until SIGTERM."""
        waited = 0.0
        while True:
            try:
                self._pump.send(0, message)
                return True
            except WouldBlock:
                if not wait or (self._stopping and waited >= WAIT_FOR_BROKER_S):
                    return False
            await trio.sleep(RETRY_S)
            waited += RETRY_S


def _only_stopped(error: BaseException) -> bool:
    """Whether it is no more than what a nursery makes of the order to stop."""
    if not isinstance(error, BaseExceptionGroup):
        return False
    group = cast("BaseExceptionGroup[BaseException]", error)
    _, rest = group.split((trio.Cancelled, Cancelled, GeneratorExit))
    return rest is None


class _Stream:
    """The parts of one request, under the credit of its reader."""

    def __init__(self, loop: TrioLoop, run: Run) -> None:
        self.changed = trio.Event()
        self._loop = loop
        self._run = run
        self._number = 0

    async def emit(self, value: Any) -> None:
        """Send a part, once the reader has room for it."""
        run = self._run
        if not run.credit.wanted:
            await trio.lowlevel.checkpoint()
            return
        while not run.credit.take_now():
            self.changed = trio.Event()
            if run.credit.take_now():
                break
            await self.changed.wait()
        await self._loop.send_part(answers.part(run.order, self._number, value, self._loop.max_message_bytes))
        self._number += 1
