"""The loop of a worker that has async functions, or runs several at a time: one trio loop for the life of the process.

How the functions are run in it is in `worker.trio_answers`; which answers leave together, in `worker.holding`.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import trio
import zmq

from maitred.protocol import messages
from maitred.protocol.bundles import first_of, opened
from maitred.protocol.errors import MaitredError
from maitred.protocol.frames import Frames
from maitred.protocol.worker import RequestsConnection
from maitred.transport.errors import WouldBlock
from maitred.transport.pump import Pump
from maitred.worker.batch import Answer, Batch
from maitred.worker.calling import AsyncCalls
from maitred.worker.context import Cancelled
from maitred.worker.control import Control, terminate_itself
from maitred.worker.gathering import Arrived, Gathering
from maitred.worker.health import acheck
from maitred.worker.holding import Holding
from maitred.worker.lanes import Lane
from maitred.worker.requests import Requests, Taken
from maitred.worker.running import Run
from maitred.worker.service import Command
from maitred.worker.spans import spans_of
from maitred.worker.trio_answers import TrioAnswers
from maitred.worker.trio_sessions import TrioSessions

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
        slots: requests that run at a time, or batches; the synchronous ones in threads, where it is more than one.
        look: called each second; returns whether it touched the socket.
        key_file: of the key that `acall` calls with.

    Attributes:
        welcomed: whether the broker has let this worker in.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        connection: RequestsConnection,
        requests: Requests,
        control: Control,
        clients_endpoint: str | None,
        slots: int,
        look: Callable[[], bool] = lambda: False,
        key_file: str | None = None,
    ) -> None:
        self.welcomed = False
        self._look_around = look
        self._key_file = key_file
        self._clients_endpoint = clients_endpoint
        self._calls: AsyncCalls | None = None
        self._pump = Pump([socket], self._receive, on_idle=self._register_if_stranger)
        self._connection = connection
        self._requests = requests
        self._requests.in_threads = slots > 1
        self._answers = TrioAnswers(requests, slots, self._send_part)
        self._control = control
        self._nursery: trio.Nursery | None = None
        self._left = trio.Event()
        self._told_to_end = trio.Event()
        self._stranger = False
        self._stopping = False
        self._owing = False
        self._slots = slots
        self._runs = 0
        self._gathering = Gathering(requests.service.commands)
        self._waiting: deque[list[Arrived] | Lane | messages.Check] = deque()
        self._sessions = TrioSessions(requests, self._send, self._take, self._begin_lane)
        self._taken: deque[list[Taken]] = deque()
        self._holding = Holding()
        self._bundles = False
        self._refusal: MaitredError | None = None

    async def run(self) -> None:
        """Register, serve, leave.

        Raises:
            MaitredError: the broker refused this worker.
        """
        self._requests.window.open()
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
            self._calls = AsyncCalls(self._clients_endpoint, nursery, self._key_file)
        await nursery.start(self._obey_sigterm)
        await nursery.start(self._pump.run)
        nursery.start_soon(self._stay_in_touch)
        nursery.start_soon(self._register)
        nursery.start_soon(self._sessions.keep_what_is_due)
        await self._told_to_end.wait()
        self._stopping = True
        while self._runs:
            self._left = trio.Event()
            await self._left.wait()
        await self._let_go()
        await self._sessions.drain()
        if not self._owing:  # after LEAVE, what is unanswered counts as never begun
            with contextlib.suppress(WouldBlock):
                self._pump.send(0, self._connection.leave())

    async def _obey_sigterm(self, *, task_status: trio.TaskStatus[None]) -> None:
        """For the life of the loop: a second one, amid the end that the first one asked for, says nothing new."""
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            task_status.started()
            async for _ in signals:
                self._told_to_end.set()

    async def _stay_in_touch(self) -> None:
        while True:
            await trio.sleep(IDLE_S)
            if self._look_around():
                self._pump.kick()
            self._wait_no_longer()
            if not self._runs:
                self._sessions.idle()
                with contextlib.suppress(WouldBlock):
                    self._pump.send(0, self._connection.heartbeat())

    def _wait_no_longer(self) -> None:
        """Begin with what has come of a batch: its rest has not come for a while."""
        self._line_up(self._gathering.rest())
        self._begin_more()

    def _register_if_stranger(self) -> None:
        """All that has arrived was taken: what is not named as held from here on is lost."""
        if self._stranger and self._nursery is not None:
            self._stranger = self._bundles = False
            self._line_up(self._gathering.rest())
            self._take_all()
            self._nursery.start_soon(self._register)
            self._begin_more()

    async def _register(self) -> None:
        while (said := self._connection.register()) and not await self._send(said, wait=False):  # noqa: ASYNC110
            await trio.sleep(RETRY_S)  # only time will tell
        await self._let_go()

    def _receive(self, _index: int, message: Sequence[Any]) -> int:
        assert self._nursery is not None
        several = opened(message) or (message,)
        try:
            for one in several:
                self._obey(*self._connection.receive(one))
        except MaitredError as error:
            self._refusal = error
            self._nursery.cancel_scope.cancel()
        return len(several)

    def _obey(self, order: messages.ToWorker, body: Sequence[Any]) -> None:
        match order:
            case messages.Dispatch():
                self._line_up(self._gathering.add(order, body, time.monotonic()))
                self._begin_more()
            case messages.SessionOpen() | messages.SessionClose():
                self._line_up(self._gathering.rest())
                self._sessions.obey(order, body)
            case messages.Check():
                self._waiting.append(order)
                self._begin_more()
            case messages.Dismiss():
                terminate_itself()
            case messages.WorkerCancel():
                self._requests.running.cancel((order.client, order.id), order.reason)
            case messages.WorkerGrant():
                self._requests.running.grant((order.client, order.id), order.parts)
            case messages.Welcome():
                self.welcomed = True
                self._bundles = order.bundles
                self._requests.welcomed(order)
                self._requests.page.mark_ready()
                self._control.begin(order.interval)
                assert self._nursery is not None
                self._nursery.start_soon(self._sessions.announce, self._sessions.to_announce())
            case messages.Stranger():
                self._stranger = True
            case _:
                pass

    def _line_up(self, groups: Iterable[list[Arrived]]) -> None:
        for group in groups:
            session = group[0][0].session
            if session is None:
                self._waiting.append(group)
            else:
                self._sessions.serve_later(session, group)

    def _begin_lane(self, lane: Lane) -> None:
        self._waiting.append(lane)
        self._begin_more()

    def _take_all(self) -> None:
        for _ in range(len(self._waiting)):
            each = self._waiting.popleft()
            if isinstance(each, list):
                self._taken.append(self._take(each))
            else:
                self._waiting.append(each)
        self._sessions.hold()

    def _begin_more(self) -> None:
        """Begin what lies ready, as far as there is room; what was sent ahead waits, and may be recalled meanwhile."""
        assert self._nursery is not None
        while (self._taken or self._waiting) and self._runs < self._slots and not self._stopping:
            work = self._next()
            if isinstance(work, messages.Check):
                self._nursery.start_soon(self._check, work)
            elif work:
                self._runs += 1
                self._nursery.start_soon(self._serve, work)

    def _next(self) -> list[Taken] | Lane | messages.Check:
        if self._taken:
            return self._taken.popleft()
        waiting = self._waiting.popleft()
        return self._take(waiting) if isinstance(waiting, list) else waiting

    def _take(self, group: Iterable[Arrived]) -> list[Taken]:
        return self._requests.take_all(group, self._calls.call if self._calls else None)

    async def _check(self, order: messages.Check) -> None:
        """Say how this worker is. It takes no slot, so others run meanwhile; that its turn has come is half the answer."""
        await self._let_go()
        context = self._requests.context_of("health_check")
        problem = await acheck(self._requests.service.checks_health, context, in_thread=self._requests.in_threads)
        await self._send(self._connection.checked(order, problem))

    async def _serve(self, work: list[Taken] | Lane) -> None:
        try:
            if isinstance(work, Lane):
                await self._sessions.run(work, self._serve_all)
            else:
                await self._serve_all(work)
        finally:
            self._runs -= 1
            self._left.set()
            self._begin_more()
        if not self._runs:  # what waited was recalled
            await self._let_go()

    async def _serve_all(self, taken: list[Taken]) -> None:
        for run, _ in taken:
            self._requests.begin(run)
        command = self._requests.batched(taken)
        if command is not None:
            await self._let_go()
            await self._serve_batch(command, Batch(self._requests, command, taken))
        else:
            for run, body in taken:
                await self._serve_one(run, body)

    async def _serve_one(self, run: Run, body: Sequence[Any]) -> None:
        began = time.perf_counter()
        if self._holding.must_go(run.order.command, began):
            await self._let_go()
        if run.order.trace is None:  # nearly always
            answer = await self._answers.answer(run, body)
        else:
            with spans_of([run]) as spans:
                answer = await self._answers.answer(run, body)
                spans.end([(run, answer)])
        ended = time.perf_counter()
        may_wait = self._holding.hold(run, answer, ended - began, ended) and self._bundles
        alone = run.order.session is not None or self._stopping or not (self._waiting or self._taken)
        if alone or not may_wait:
            await self._let_go()

    async def _serve_batch(self, command: Command, batch: Batch) -> None:
        await self._finish(batch.left_out)
        with spans_of(batch.runs) as spans:
            answered = await self._answers.batch(command, batch)
            spans.end(answered)
        await self._finish(answered)

    async def _let_go(self) -> None:
        await self._finish(self._holding.take())

    async def _finish(self, answered: list[Answer]) -> None:
        """Hand answers to ZeroMQ, together where the broker takes that; where it is given up, the others are too."""
        waiting = [answer for _, answer in answered]
        while waiting:
            message, count = first_of(waiting) if self._bundles else (waiting[0], 1)
            if not await self._send(message):
                self._owing = True
                return
            for run, _ in answered[:count]:
                self._requests.end(run)
            del waiting[:count], answered[:count]

    async def _send_part(self, message: Frames) -> None:
        await self._let_go()
        if not await self._send(message):
            raise Cancelled("draining")  # a stream without this part would be a wrong one

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
