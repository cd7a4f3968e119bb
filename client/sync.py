"""The synchronous client: thread-safe, one connection for each calling thread, no hop and no lock on a single call."""

from __future__ import annotations

import functools
import os
import queue
import threading
import time
import weakref
from collections.abc import Generator, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import zmq

from maitred.client.background import CLOSE_PATIENCE_S, Background, Ticket
from maitred.client.calls import (
    DEFAULT_CONNECT_TIMEOUT_S,
    QUERY_TIMEOUT_S,
    Answer,
    Call,
    OnSaturated,
    options,
    result,
)
from maitred.client.channel import Answers, Channel
from maitred.client.endpoint import find_endpoint
from maitred.client.errors import DeadlineExceeded
from maitred.client.futures import RequestFuture
from maitred.client.link import Link
from maitred.client.mapping import DEFAULT_MAP_WINDOW, Item, MapPlan
from maitred.client.origin import Origin
from maitred.protocol import limits
from maitred.protocol.body import decode_body
from maitred.protocol.client import PartArrived, Replied
from maitred.transport.context import new_context
from maitred.transport.wake import Wake

CLOSE_POLL_S = 0.01
"""How often `close` looks whether the threads that were amid a call have left it. They say so besides."""

_INHERITED: list[object] = []
"""What a fork copied of its parent's connections. Kept for good: to free it would be to use the parent's sockets."""


class Client:
    """A client of one broker.

    Threads may share it: each gets a connection of its own at its first call. After a fork the child makes its own
    connections and is another client to the broker. Use it as a context manager, or call `close`.

    Options that the calls have in common:

    - `timeout`: seconds for all of it, waiting included; None takes the pool's.
    - `retries`: how often it may be run again when its worker dies under it. To ask for it is to say that running it
      twice does no harm. None leaves both to what the command declares and the pool allows.
    - `idempotent`: whether running it twice does no harm, whatever the command declares.
    - `on_saturated`: when the pool is full, "raise" `PoolSaturated`, or "wait" as long as the broker says and try again
      until the time is over (without a `timeout`: for as long as it takes).

    Args:
        endpoint: `tcp://host:port` or `ipc://path`; None takes $MAITRED_ENDPOINT, else the broker of this host.
        connect_timeout: seconds within which the broker must answer a new connection, or take a request.

    Raises:
        ValueError: the endpoint is none; the text names it.
        Unavailable: no endpoint was given and no broker runs on this host.
    """

    def __init__(self, endpoint: str | None = None, *, connect_timeout: float = DEFAULT_CONNECT_TIMEOUT_S) -> None:
        self.endpoint = find_endpoint(endpoint)
        self.connect_timeout = connect_timeout
        self._begin_process()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def execute(
        self,
        pool: str | None,
        command: str,
        args: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        retries: int | None = None,
        idempotent: bool | None = None,
        on_saturated: OnSaturated = "raise",
    ) -> Any:
        """Run a command and wait for its result.

        Args:
            pool: the pool's name, or None to have the broker choose by its routing table.
            command: the command's name.
            args: its arguments by name.
            timeout: seconds; this option and the next three: see the class.
            retries: how often it may run again.
            idempotent: whether it may run twice.
            on_saturated: what to do when the pool is full.

        Raises:
            MaitredError: one of `maitred.client.errors`. `EncodeError` and `PayloadTooLarge` are raised before anything
                is sent. Any other exception that ends the wait (Ctrl-C) has the request stopped.
            ValueError: an option makes no sense.
        """
        call = Call(pool, command, args, options(timeout, retries, idempotent, on_saturated))
        call.begin(time.monotonic())
        channel = self._enter(call)
        request_id = 0
        try:
            while True:
                request_id = next(self._origin.numbers)
                answer = channel.next_answer(channel.send(call, request_id, self.connect_timeout))
                if type(answer) is Replied:  # nearly always
                    return decode_body(answer.body)
                again_at = call.again_at(answer, time.monotonic())
                if again_at is None:
                    return result(answer)
                channel.rest(again_at)
        except BaseException:
            channel.abandon(request_id)
            raise
        finally:
            self._leave(channel)

    def stream(
        self,
        pool: str | None,
        command: str,
        args: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        retries: int | None = None,
        idempotent: bool | None = None,
        on_saturated: OnSaturated = "raise",
    ) -> Generator[Any, None, None]:
        """Run a command and yield its parts as they come; the last value is its result.

        Arguments and errors as `execute`; it begins with the first `next`. A request that is run again starts its parts
        again. Closing the generator, or leaving its loop, has the request stopped. A reader that is slow slows the
        command down. It is read by the thread that began it.
        """
        window = limits.DEFAULT_WINDOW_PARTS
        return self._stream(Call(pool, command, args, options(timeout, retries, idempotent, on_saturated), window))

    def submit(
        self,
        pool: str | None,
        command: str,
        args: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        retries: int | None = None,
        idempotent: bool | None = None,
        on_saturated: OnSaturated = "raise",
    ) -> RequestFuture:
        """Start a command and return at once.

        Arguments as `execute`; `args` may be changed afterwards. What is wrong with them is raised here, all else by the
        future's `result()`. A background thread, started by the first call, does the waiting.
        """
        call = Call(pool, command, args, options(timeout, retries, idempotent, on_saturated))
        call.body = [frame if isinstance(frame, bytes) else bytes(frame) for frame in call.body]
        call.begin(time.monotonic())
        future = RequestFuture(lambda: self._cancel(ticket))
        ticket = Ticket(call, future.take)
        self._post(ticket)
        return future

    def map(
        self,
        pool: str | None,
        command: str,
        items: Iterable[Mapping[str, Any]],
        *,
        timeout: float | None = None,
        retries: int | None = None,
        idempotent: bool | None = None,
        on_saturated: OnSaturated = "wait",
        window: int = DEFAULT_MAP_WINDOW,
    ) -> Generator[Any, None, None]:
        """Run a command once for each item and yield the results in the items' order.

        Items are consumed as there is room, and up to `window` of them are under way, or done and not yielded yet. Where
        the pool is full it does with less and comes back when the broker says. What goes wrong with an item is raised at
        its place and ends the whole. Closing the generator, or leaving its loop, has what is under way stopped.

        Args:
            pool: the pool's name, or None, as `execute`.
            command: the command's name.
            items: the arguments of each call, by name.
            timeout: seconds for each item, from its first sending; this option and the next three: see the class.
            retries: how often each may run again.
            idempotent: whether they may run twice.
            on_saturated: what to do when the pool is full; with "raise" the first refusal ends the map.
            window: items at a time.
        """
        plan = MapPlan(pool, command, items, options(timeout, retries, idempotent, on_saturated), window)
        return self._map(plan)

    def pools(self) -> list[dict[str, Any]]:
        """One row a pool, as `maitred status --json` has them."""
        return self._query("pools")

    def workers(self) -> list[dict[str, Any]]:
        """One row a worker, as `maitred workers --json` has them."""
        return self._query("workers")

    def broker(self) -> dict[str, Any]:
        """The broker itself: the "broker" of `maitred status --json`."""
        return self._query("broker")

    def close(self) -> None:
        """End all connections; what other threads and futures wait for is stopped: `RequestCancelled`. Repeatable."""
        if self._origin.pid != os.getpid():
            self._closing.raised = True  # the descriptor is the parent's
            return
        with self._lock:
            if self._closing.raised:
                return
            self._closing.set()
            channels, background = list(self._channels), self._background
        amid = background is not None and not background.close()
        busy = [channel for channel in channels if not channel.close_unless_busy()]  # their threads were woken
        give_up = time.monotonic() + CLOSE_PATIENCE_S
        while any(channel.busy for channel in busy) and time.monotonic() < give_up:
            if any(channel.busy and channel.thread == threading.get_ident() for channel in busy):
                amid = True  # this thread's own, beneath us: a signal handler closes the client amid a call
                break
            self._left.wait(CLOSE_POLL_S)
        if not amid and not any(channel.busy for channel in busy):
            self._context.term()

    # --- below: calls ---

    def _stream(self, call: Call) -> Generator[Any, None, None]:
        call.begin(time.monotonic())
        channel = self._enter(call)
        request_id, taken, inside = 0, 0, True
        try:
            answers, request_id = self._send_until_begun(channel, call)
            while isinstance(answer := channel.next_answer(answers), PartArrived):
                taken += 1
                if taken == call.window // 2:
                    channel.grant(request_id, taken)
                    taken = 0
                inside = self._leave(channel)
                yield result(answer)
                inside = self._enter_again(channel)
            inside = self._leave(channel)
            yield result(answer)
        finally:
            if not inside and channel.in_use():  # finalised amid another call, or by another thread
                channel.abandon_later(request_id)
            else:
                channel.busy = True
                channel.abandon(request_id)
                self._leave(channel)

    def _send_until_begun(self, channel: Channel, call: Call) -> tuple[Answers, int]:
        """Send it, again where the pool is full and the caller waits; the first answer is there, and is not taken."""
        while True:
            request_id = next(self._origin.numbers)
            try:
                answers = channel.send(call, request_id, self.connect_timeout)
                answer = channel.next_answer(answers)
                again_at = call.again_at(answer, time.monotonic())
                if again_at is None:
                    answers.appendleft(answer)
                    return answers, request_id
            except BaseException:
                channel.abandon(request_id)
                raise
            channel.rest(again_at)

    def _map(self, plan: MapPlan) -> Generator[Any, None, None]:
        arrivals: queue.SimpleQueue[tuple[Item, Answer]] = queue.SimpleQueue()
        try:
            while not plan.finished:
                while (item := plan.due(time.monotonic())) is not None:
                    assert item.call is not None
                    item.under_way = Ticket(item.call, functools.partial(_arrive, arrivals, item))
                    self._post(item.under_way)
                if plan.ready:
                    yield plan.take()
                elif not plan.finished:
                    _await_arrivals(plan, arrivals)
        finally:
            for ticket in plan.close():
                self._cancel(ticket)

    def _query(self, what: str) -> Any:
        channel = self._enter()
        request_id, until = next(self._origin.numbers), time.monotonic() + QUERY_TIMEOUT_S
        try:
            answers = channel.query(request_id, what, until)
            while not answers:
                if not channel.wait(until):
                    text = f"the broker at {self.endpoint} did not answer within {QUERY_TIMEOUT_S:g} s"
                    raise DeadlineExceeded(text, where="unknown", timeout=QUERY_TIMEOUT_S)
                channel.check_open()
            return result(answers[0])
        finally:
            channel.abandon(request_id)
            self._leave(channel)

    # --- below: connections ---

    def _begin_process(self) -> None:
        self._origin = Origin()
        self._lock = threading.Lock()
        self._context: zmq.Context[zmq.Socket[bytes]] = new_context()
        self._closing = Wake()
        self._left = threading.Event()
        self._local = threading.local()
        self._channels: weakref.WeakSet[Channel] = weakref.WeakSet()
        self._background: Background | None = None

    def _check_process(self) -> None:
        if self._origin.pid != os.getpid():
            _INHERITED.append((self._context, list(self._channels), self._local, self._background))
            if self._closing.raised:
                raise _closed()
            self._begin_process()

    def _enter(self, call: Call | None = None) -> Channel:
        """This thread's channel, marked as being used."""
        if self._origin.pid != os.getpid():
            self._check_process()
        channel: Channel | None = getattr(self._local, "channel", None)
        if channel is None:
            return self._connect(call)
        channel.busy = True
        if self._closing.raised:  # asked after it was marked: `close` asks the other way round
            self._leave(channel)
            raise _closed()
        return channel

    def _enter_again(self, channel: Channel) -> bool:
        if self._origin.pid != os.getpid() or getattr(self._local, "channel", None) is not channel:
            self._check_process()
            if self._closing.raised or not channel.intact:
                raise _closed()
            raise RuntimeError("a stream is read by the thread that began it, and not after a fork")
        channel.busy = True
        if self._closing.raised:
            self._leave(channel)
            raise _closed()
        return True

    def _leave(self, channel: Channel) -> bool:
        channel.abandon_left()
        if self._closing.raised or not channel.intact:
            self._drop(channel)
        channel.busy = False
        if self._closing.raised:  # asked again after it was marked: `close` asks the other way round
            self._drop(channel)
        return False

    def _drop(self, channel: Channel) -> None:
        channel.close()
        if getattr(self._local, "channel", None) is channel:
            del self._local.channel
        self._left.set()

    def _connect(self, call: Call | None) -> Channel:
        with self._lock:
            if self._closing.raised:
                raise _closed()
            channel = Channel(self._context, self.endpoint, self._origin, self._closing)
            self._channels.add(channel)
        try:
            channel.open(
                self.connect_timeout if call is None else call.patience(time.monotonic(), self.connect_timeout)
            )
        except BaseException:
            channel.close()
            raise
        self._local.channel = channel
        return channel

    def _post(self, ticket: Ticket) -> None:
        self._check_process()
        while True:
            with self._lock:
                if self._closing.raised:
                    raise _closed()
                background = self._background
                if background is None:
                    background = self._background = self._start_background()
            if background.send(ticket):
                return
            with self._lock:
                if self._background is background:
                    self._background = None

    def _start_background(self) -> Background:
        make_link = functools.partial(Link, self._context, self.endpoint, self._origin, self._closing)
        background = Background(make_link, self._origin, self._closing, self.connect_timeout)
        weakref.finalize(self, background.close)  # the thread does not keep the client alive, nor outlive it
        return background

    def _cancel(self, ticket: Ticket) -> None:
        background = self._background
        if background is not None:
            background.cancel(ticket)


def _closed() -> RuntimeError:
    return RuntimeError("this client is closed")


def _arrive(arrivals: queue.SimpleQueue[tuple[Item, Answer]], item: Item, answer: Answer) -> None:
    arrivals.put((item, answer))


def _await_arrivals(plan: MapPlan, arrivals: queue.SimpleQueue[tuple[Item, Answer]]) -> None:
    """Wait for one answer, or until the plan has something to send, and take in all that is there."""
    wake_at = plan.wake_at
    timeout = None if wake_at is None else max(0.0, wake_at - time.monotonic())
    try:
        item, answer = arrivals.get(timeout=timeout)
        while True:
            plan.arrived(item, answer, time.monotonic())
            item, answer = arrivals.get_nowait()
    except queue.Empty:
        return
