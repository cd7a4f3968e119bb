"""The loop of a worker whose functions are all synchronous: the main thread reads, runs and answers. No thread hop.

    receive → run the function → send → receive …

A bundle that comes is opened here, and its messages lie ready as if they were still in the socket's queue; answers of short
functions leave together (`worker.holding`).

SIGTERM ends the wait at once, or the loop after the function that runs.
"""

from __future__ import annotations

import math
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from types import FrameType
from typing import Any

from maitred.protocol import messages
from maitred.protocol.bundles import first_of, opened
from maitred.protocol.frames import Frames
from maitred.protocol.worker import RequestsConnection
from maitred.transport.dealers import ROOM, Dealer
from maitred.transport.errors import WouldBlock
from maitred.transport.frames import TooManyFrames
from maitred.worker import answers
from maitred.worker.batch import Answer, Batch
from maitred.worker.context import Cancelled
from maitred.worker.control import Control, terminate_itself
from maitred.worker.gathering import Gathering
from maitred.worker.health import check
from maitred.worker.holding import Holding
from maitred.worker.invoke import invoke
from maitred.worker.requests import Requests, Taken
from maitred.worker.running import Run
from maitred.worker.session_orders import SessionOrders, at_once
from maitred.worker.sessions import Owned
from maitred.worker.spans import spans_of

__all__ = ["PlainLoop"]

IDLE_S = 1.0
"""An idle worker says so this often on the connection its requests come by: a broken one is found, and made anew."""

WAIT_FOR_BROKER_S = 0.5
"""An answer waits for the broker to come back, in steps of this, so that SIGTERM is heard meanwhile."""


Work = list[Taken] | tuple[messages.SessionOpen | messages.SessionClose, Sequence[Any]] | messages.Check
"""Requests, what the broker said of a session, or that it asks how this worker is, in the order in which they came."""

AT_ONCE_S = 50e-6
"""A request that is begun so soon after the last one lay ready: going to sleep and being woken takes longer."""


class _Terminated(Exception):
    """SIGTERM came while nothing ran."""


class PlainLoop:
    """Serves until SIGTERM.

    Args:
        dealer: where its requests come by; owned by the caller.
        connection: the protocol's half.
        requests: what to serve.
        control: begins to beat when the worker is registered.
        look: called now and then while nothing comes, or can be sent.

    Attributes:
        welcomed: whether the broker has let this worker in.
        stopping: whether SIGTERM came.
    """

    def __init__(
        self,
        dealer: Dealer,
        connection: RequestsConnection,
        requests: Requests,
        control: Control,
        look: Callable[[], object] = lambda: None,
    ) -> None:
        self._dealer = dealer
        self._connection = connection
        self._requests = requests
        self._control = control
        self._window = requests.window
        self._gathering = Gathering(requests.service.commands)
        self._backlog: deque[Work] = deque()
        self._sessions = SessionOrders(requests, self._send_for_session)
        self._arrived: deque[Frames] = deque()
        self._holding = Holding()
        self._ended = 0.0
        self._bundles = False
        self._waiting = False
        self._look_around = look
        self.welcomed = False
        self.stopping = False
        self._owing = False

    def run(self) -> None:
        """Register, serve, leave.

        Raises:
            MaitredError: the broker refused this worker.
        """
        signal.signal(signal.SIGTERM, self._terminate)
        self._window.open()
        self._register()
        while not self.stopping:
            if self._sessions.deferred:
                self._keep_what_is_due()
            if self._backlog:
                self._do(self._backlog.popleft())
            elif self._arrived:
                self._obey(*self._connection.receive(self._arrived.popleft()))
            elif self._holding:
                self._let_go()
            elif (received := self._wait()) is not None:
                self._obey(*received)
            elif not self.stopping:  # a second without a word: the rest of a batch does not come
                self._backlog.extend(map(self._requests.take_all, self._gathering.rest()))
                self._sessions.idle()
        self._let_go()
        at_once(self._sessions.drain())
        if not self._owing:  # after LEAVE, what is unanswered counts as never begun
            self._send(self._connection.leave(), wait=False)

    def _terminate(self, _number: int, _frame: FrameType | None) -> None:
        self.stopping = True
        if self._waiting:
            raise _Terminated

    def _wait(self) -> tuple[messages.ToWorker, Sequence[Any]] | None:
        """Sleep until a message came; an idle connection is used, so that a broken one is noticed."""
        pause_s = self._no_longer_than(self._sessions.next_deadline()) if self._sessions.deferred else IDLE_S
        try:
            self._waiting = True
            if self.stopping:
                return None
            self._dealer.wait(pause_s)
        except _Terminated:  # what had just come was not begun: it goes to others when this worker leaves
            return None
        finally:
            self._waiting = False
        message = self._dealer.receive()
        if message is None:
            self._look_around()
            self._send(self._connection.heartbeat(), wait=False)
        if message is None or isinstance(message, TooManyFrames):
            return None
        return self._connection.receive(self._first(message))

    def _first(self, message: Frames) -> Frames:
        several = opened(message)
        if several is None:
            return message
        self._arrived.extend(several)
        return self._arrived.popleft()

    def _receive(self) -> tuple[messages.ToWorker, Sequence[Any]] | None:
        """The next message, if one has arrived."""
        while not self._arrived:
            message = self._dealer.receive()
            if message is None:
                return None
            if not isinstance(message, TooManyFrames):
                return self._connection.receive(self._first(message))
        return self._connection.receive(self._arrived.popleft())

    def _obey(self, message: messages.ToWorker, body: Sequence[Any]) -> None:
        match message:
            case messages.Dispatch():
                for group in self._gathering.add(message, body, time.monotonic()):
                    self._serve(self._requests.take_all(group))
            case messages.SessionOpen() | messages.SessionClose():
                self._backlog.extend(map(self._requests.take_all, self._gathering.rest()))
                self._backlog.append((message, body))
            case messages.Check():
                self._backlog.append(message)
            case messages.Dismiss():
                terminate_itself()
            case messages.WorkerCancel():
                self._requests.running.cancel((message.client, message.id), message.reason)
            case messages.WorkerGrant():
                self._requests.running.grant((message.client, message.id), message.parts)
            case messages.Welcome():
                self.welcomed = True
                self._bundles = message.bundles
                self._requests.welcomed(message)
                self._requests.page.mark_ready()
                self._control.begin(message.interval)
                self._announce()
            case messages.Stranger():
                self._register_again()
            case _:
                pass

    def _register_again(self) -> None:
        """The broker has lost this connection. What has arrived is taken first: what is not named as held is lost."""
        while (received := self._receive()) is not None:
            order, body = received
            if isinstance(order, messages.Dispatch):
                groups = self._gathering.add(order, body, time.monotonic())
                self._backlog.extend(map(self._requests.take_all, groups))
            elif not isinstance(order, messages.Stranger):  # one for each message sent meanwhile; one answer is enough
                self._obey(order, body)
        self._backlog.extend(map(self._requests.take_all, self._gathering.rest()))
        self._bundles = False
        self._register()
        self._let_go()  # what is held is named as held: its answer is one to this registration

    def _register(self) -> None:
        register = self._connection.register()
        if register is not None:
            self._send(register)

    def _do(self, work: Work) -> None:
        match work:
            case messages.SessionOpen() as order, body:
                self._let_go()
                at_once(self._sessions.open(order, body))
            case messages.SessionClose() as order, _:
                self._let_go()
                at_once(self._sessions.close(order))
            case messages.Check():
                self._let_go()
                hook = self._requests.service.checks_health
                problem = check(hook, self._requests.context_of("health_check"))
                self._send(self._connection.checked(work, problem))
            case list():
                self._serve(work)

    def _serve(self, taken: list[Taken]) -> None:
        for run, _ in taken:
            self._requests.begin(run)
        command = self._requests.batched(taken)
        if command is not None:
            self._let_go()
            self._serve_batch(Batch(self._requests, command, taken))
            return
        for run, body in taken:
            self._serve_one(run, body)

    def _serve_one(self, run: Run, body: Sequence[Any]) -> None:
        began = time.perf_counter()
        if self._holding.must_go(run.order.command, began):
            self._let_go()
        if run.order.trace is None:  # nearly always
            answer = self._answer(run, body)
        else:
            with spans_of([run]) as spans:
                answer = self._answer(run, body)
                spans.end([(run, answer)])
        ended = time.perf_counter()
        may_wait = self._holding.hold(run, answer, ended - began, ended) and self._bundles
        if not (may_wait and run.order.session is None and self._more_is_there(began)):
            self._let_go()
        self._ended = ended

    def _more_is_there(self, began: float) -> bool:
        """Whether the next request is there; looked for only in a burst, where this one had not to be waited for."""
        if self._arrived or self._backlog:
            return True
        return began - self._ended < AT_ONCE_S and self._dealer.has_message()

    # --- sessions: one thing happens at a time here, so nothing runs beside their requests ---

    def _announce(self) -> None:
        """A broker may not know what this worker owns: after it was restarted, or had lost this worker."""
        for owned in self._requests.sessions.all():
            at_once(self._sessions.announce(owned))
            self._keep(owned)

    def _keep_what_is_due(self) -> None:
        now = time.monotonic()
        if now >= self._sessions.next_deadline():
            for owned in self._sessions.due(now):
                self._keep(owned)

    def _keep(self, owned: Owned | None) -> None:
        if owned is not None:
            at_once(self._sessions.keep(owned))

    async def _send_for_session(self, message: Frames) -> bool:
        return self._send(message)

    def _no_longer_than(self, deadline: float) -> float:
        return IDLE_S if deadline == math.inf else min(IDLE_S, max(0.0, deadline - time.monotonic()))

    def _serve_batch(self, batch: Batch) -> None:
        self._finish(batch.left_out)
        with spans_of(batch.runs) as spans:
            answered = self._call(batch)
            spans.end(answered)
        self._finish(answered)

    def _let_go(self) -> None:
        self._finish(self._holding.take())

    def _finish(self, answered: list[Answer]) -> None:
        """Hand answers to ZeroMQ, together where the broker takes that; where it is given up, the others are too."""
        if len(answered) == 1:  # nearly always, where callers wait for each
            if self._send(answered[0][1]):
                self._end(answered[0][0])
            else:
                self._owing = True
            return
        waiting = [answer for _, answer in answered]
        while waiting:
            message, count = first_of(waiting) if self._bundles else (waiting[0], 1)
            if not self._send(message):
                self._owing = True
                return
            for run, _ in answered[:count]:
                self._end(run)
            del waiting[:count], answered[:count]

    def _end(self, run: Run) -> None:
        self._requests.end(run)
        if run.order.session is not None:
            self._keep(self._sessions.due_after(run.order.session))

    def _call(self, batch: Batch) -> list[Answer]:
        began = time.perf_counter()
        try:
            value = batch.run(partial(self._window.call, batch))
        except BaseException as error:  # as in _answer
            return batch.failures(error, time.perf_counter() - began)
        return batch.results(value, time.perf_counter() - began)

    def _answer(self, run: Run, body: Sequence[Any]) -> Frames:
        began = time.perf_counter()
        read = self._requests.read(run, body)
        if isinstance(read, list):
            return read
        command, kwargs = read
        number = 0

        def emit(value: Any) -> None:
            nonlocal number
            if run.credit.wanted:
                self._let_go()
                run.credit.take(run.context)
                if not self._send(answers.part(run.order, number, value, self._requests.max_message_bytes)):
                    raise Cancelled("draining")  # a stream without this part would be a wrong one
                number += 1

        try:
            value = invoke(command, kwargs, run.context, emit, partial(self._window.call, run))
        except BaseException as error:  # whatever an application raises, sys.exit included, its caller is answered
            ran_s = time.perf_counter() - began
            return answers.failure(run.order, error, run.context, ran_s=ran_s, outcome=run.outcome)
        run.returned = True
        return answers.result(run.order, value, self._requests.max_message_bytes, ran_s=time.perf_counter() - began)

    def _send(self, message: Frames, *, wait: bool = True) -> bool:
        """Hand a message to ZeroMQ; False where it was given up: while the broker is away, it waits until SIGTERM."""
        while True:
            try:
                self._dealer.send(message)
                return True
            except WouldBlock:
                self._look_around()
                if not wait or (not self._dealer.wait(WAIT_FOR_BROKER_S, for_room=True) & ROOM and self.stopping):
                    return False
