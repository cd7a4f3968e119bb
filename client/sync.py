"""The synchronous client: thread-safe, one connection for each calling thread, no hop and no lock on a single call."""

from __future__ import annotations

import functools
import os
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from operator import length_hint
from types import TracebackType
from typing import Any, Self, overload

from maitred.client.calls import (
    DEFAULT_CONNECT_TIMEOUT_S,
    QUERY_TIMEOUT_S,
    Answer,
    Call,
    OnSaturated,
    Priority,
    check_name,
    options,
    result,
)
from maitred.client.channel import Answers, Channel
from maitred.client.endpoint import find_endpoint
from maitred.client.errors import Unavailable
from maitred.client.futures import RequestFuture
from maitred.client.lease import Lease, OnLost
from maitred.client.leased import Leased
from maitred.client.listening import Event, Listening
from maitred.client.mapping import DEFAULT_MAP_WINDOW, Item, MapPlan
from maitred.client.opening import Affinity, Wanted
from maitred.client.operating import Operating
from maitred.client.orders import CallOrder, WatchOrder
from maitred.client.places import Place, claim, keep, kept
from maitred.client.pressure import Latest, Pressure, PressureChanges, PressureWatch
from maitred.client.progress import shown
from maitred.client.sessions import Session
from maitred.protocol import limits
from maitred.protocol.body import decode_body
from maitred.protocol.client import PartArrived, Replied


class Client(Operating):
    """A client of one broker.

    Threads may share it: each gets a connection of its own at its first call. After a fork the child makes its own
    connections and is another client to the broker. Use it as a context manager, or call `close`.

    Options that the calls have in common:

    - `timeout`: seconds for all of it, waiting included; None takes the pool's.
    - `priority`: "low", "normal" or "high": whose turn it is in the pool's queue.
    - `retries`: how often it may be run again when its worker dies under it. To ask for it is to say that running it
      twice does no harm. None leaves both to what the command declares and the pool allows.
    - `idempotent`: whether running it twice does no harm, whatever the command declares.
    - `on_saturated`: when the pool is full, "raise" `PoolSaturated`, or "wait" as long as the broker says and try again
      until the time is over (without a `timeout`: for as long as it takes).
    - `session`: a session, or the id of one: it runs on that session's worker, after those sent before it.
    - `affinity`: what it does where that worker is busy, instead of what the session does (see `session`).
    - `traceparent`: its position in a trace, as the header of that name of W3C Trace Context; what is malformed is ignored.
      None: the current span of OpenTelemetry, where the process uses that (docs/tracing.md).

    Args:
        endpoint: `tcp://host:port` or `ipc://path`; None takes $MAITRED_ENDPOINT, else the broker of this host.
        connect_timeout: seconds within which the broker must answer a new connection, or take a request.
        name: what the application calls itself; the broker's configuration gives shares and limits by it.
        throttle: K of adaptive throttling (docs/backpressure.md), at least 1: a call that its pool would very likely refuse
            raises `PoolSaturated` (reason "throttled") at once, and is not sent. None: no call is.
        key: file of the CURVE key to show on a `tcp://` endpoint (docs/security.md); None takes $MAITRED_KEY, or none.

    Raises:
        ValueError: the endpoint is none, or another argument makes no sense, or the key cannot be used; the text names it.
        Unavailable: no endpoint was given and no broker runs on this host.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        connect_timeout: float = DEFAULT_CONNECT_TIMEOUT_S,
        name: str = "",
        throttle: float | None = None,
        key: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(find_endpoint(endpoint), connect_timeout, name, throttle, key)

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
        priority: Priority = "normal",
        retries: int | None = None,
        idempotent: bool | None = None,
        on_saturated: OnSaturated = "raise",
        session: Leased | str | None = None,
        affinity: Affinity | None = None,
        traceparent: str | None = None,
    ) -> Any:
        """Run a command and wait for its result.

        Args:
            pool: the pool's name, or None to have the broker choose by its routing table.
            command: the command's name.
            args: its arguments by name.
            timeout: seconds; this option and the next seven: see the class.
            priority: "low", "normal" or "high".
            retries: how often it may run again.
            idempotent: whether it may run twice.
            on_saturated: what to do when the pool is full.
            session: whose worker it runs on.
            affinity: "strict", "fail_fast" or "prefer".
            traceparent: where in a trace it stands.

        Raises:
            MaitredError: one of `maitred.client.errors`. `EncodeError` and `PayloadTooLarge` are raised before anything
                is sent. Any other exception that ends the wait (Ctrl-C) has the request stopped.
            ValueError: an option makes no sense.
        """
        call = Call(
            pool,
            command,
            args,
            options(timeout, priority, retries, idempotent, on_saturated, session, affinity, traceparent),
        )
        now = time.monotonic()
        call.begin(now)
        channel = self._enter(call)
        request_id = 0
        if kept.get() is not None:
            claim(call, self._origin, now)
        try:
            while True:
                request_id = next(self._origin.numbers)
                answer = channel.next_answer(channel.send(call, request_id, self.connect_timeout))
                if type(answer) is Replied:  # nearly always
                    return decode_body(answer.body)
                now = time.monotonic()
                again_at = call.again_at(answer, now)
                if again_at is None:
                    keep(Place.of(answer, call, self._origin, now))
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
        priority: Priority = "normal",
        retries: int | None = None,
        idempotent: bool | None = None,
        on_saturated: OnSaturated = "raise",
        session: Leased | str | None = None,
        affinity: Affinity | None = None,
        traceparent: str | None = None,
    ) -> Generator[Any, None, None]:
        """Run a command and yield its parts as they come; the last value is its result.

        Arguments and errors as `execute`; it begins with the first `next`. A request that is run again starts its parts
        again. Closing the generator, or leaving its loop, has the request stopped. A reader that is slow slows the
        command down. It is read by the thread that began it.
        """
        window, it = (
            limits.DEFAULT_WINDOW_PARTS,
            options(timeout, priority, retries, idempotent, on_saturated, session, affinity, traceparent),
        )
        return self._stream(Call(pool, command, args, it, window))

    def submit(
        self,
        pool: str | None,
        command: str,
        args: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        priority: Priority = "normal",
        retries: int | None = None,
        idempotent: bool | None = None,
        on_saturated: OnSaturated = "raise",
        session: Leased | str | None = None,
        affinity: Affinity | None = None,
        traceparent: str | None = None,
    ) -> RequestFuture:
        """Start a command and return at once.

        Arguments as `execute`; `args` may be changed afterwards. What is wrong with them is raised here, all else by the
        future's `result()`. A background thread, started by the first call, does the waiting.
        """
        call = Call(
            pool,
            command,
            args,
            options(timeout, priority, retries, idempotent, on_saturated, session, affinity, traceparent),
        )
        call.body = [frame if isinstance(frame, bytes) else bytes(frame) for frame in call.body]
        now = time.monotonic()
        call.begin(now)
        self._check_process()
        origin = self._origin
        claim(call, origin, now)
        future = RequestFuture(
            lambda: self._cancel(order), lambda answer: Place.of(answer, call, origin, time.monotonic())
        )
        order = CallOrder(call, future.take)
        self._post(order)
        return future

    def map(
        self,
        pool: str | None,
        command: str,
        items: Iterable[Mapping[str, Any]],
        *,
        timeout: float | None = None,
        priority: Priority = "normal",
        retries: int | None = None,
        idempotent: bool | None = None,
        on_saturated: OnSaturated = "wait",
        session: Leased | str | None = None,
        affinity: Affinity | None = None,
        traceparent: str | None = None,
        window: int = DEFAULT_MAP_WINDOW,
        return_exceptions: bool = False,
        progress: bool = False,
    ) -> Generator[Any, None, None]:
        """Run a command once for each item and yield the results in the items' order.

        Items are consumed as there is room, and up to `window` of them are under way, or done and not yielded yet. Where
        the pool is full it does with less and comes back when the broker says. What goes wrong with an item is raised at
        its place and ends the whole. Closing the generator, or leaving its loop, has what is under way stopped.

        Args:
            pool: the pool's name, or None, as `execute`.
            command: the command's name.
            items: the arguments of each call, by name.
            timeout: seconds for each item, from its first sending; this option and the next seven: see the class.
            priority: "low", "normal" or "high".
            retries: how often each may run again.
            idempotent: whether they may run twice.
            on_saturated: what to do when the pool is full; with "raise" the first refusal ends the map.
            session: whose worker they run on; one that was refused comes after others that were not.
            affinity: "strict", "fail_fast" or "prefer".
            traceparent: where in a trace it stands.
            window: items at a time.
            return_exceptions: whether what goes wrong with an item is given at its place, as the exception, and the map
                goes on. What the iterable itself raises ends it all the same.
            progress: whether a line on standard error says how many are done, where that is a terminal: for scripts.
        """
        plan = MapPlan(
            pool,
            command,
            items,
            options(timeout, priority, retries, idempotent, on_saturated, session, affinity, traceparent),
            window,
            return_exceptions=return_exceptions,
        )
        results = self._map(plan)
        return shown(results, length_hint(items) or None) if progress else results

    def session(
        self,
        pool: str | None = None,
        *,
        ttl: float | None = None,
        metadata: Mapping[str, Any] | None = None,
        affinity: Affinity | None = None,
        keep_alive: bool = False,
        on_lost: OnLost | None = None,
        id: str | None = None,
        timeout: float | None = None,
    ) -> Session:
        """Open a session, or attach to one by its `id`: `with client.session("neural", ttl=7200) as session`.

        It is open when this returns. Leaving the block closes what was opened here; what was attached to goes on.

        Args:
            pool: the pool's name; of one that is attached to it need not be said.
            ttl: seconds that it lives on after its last reply; None takes the pool's.
            metadata: a few small fields of yours, for the worker, for tables, and for whoever attaches.
            affinity: what a call does where the session's worker is busy. "strict": waits. "fail_fast":
                raises `PoolSaturated`. "prefer": goes to another worker, without the session's state. None: what the
                pool's configuration says, "strict" where it says nothing.
            keep_alive: renew it in the background until it is closed, left, or the client is.
            on_lost: called once, in the background thread, if it ends and was not closed here: with the error that its
                next call would raise. Must not block.
            id: of a session that is open, in hexadecimal.
            timeout: seconds to wait for a worker; None: as long as the pool's own time-out.

        Raises:
            SessionNotFound, SessionLost, SessionPoolMismatch: of an `id`.
            MaitredError: no worker can own it: `PoolSaturated`, `UnknownPool`, `Unavailable`, `DeadlineExceeded`.
            ValueError: an option makes no sense.
        """
        wanted = Wanted(pool, ttl, metadata, affinity, keep_alive, id, timeout)
        known = threading.Event()
        lease = Lease(wanted, on_lost, known.set)
        return Session(self, lease, self._post_and_wait_for, self._cancel, wanted).join(known)

    @overload
    def pressure(self, pool: str) -> PressureChanges: ...

    @overload
    def pressure(self, pool: str, callback: Callable[[Pressure], object]) -> PressureWatch: ...

    def pressure(self, pool: str, callback: Callable[[Pressure], object] | None = None) -> PressureWatch:
        """Be told how full a pool is: at once, and at each change of its level.

        Without a callback the result is to be iterated over: `for pressure in client.pressure("general")` waits for the
        next change, for ever. With one, that is called in the client's background thread, must not block, and what it
        raises goes to the log; the result's `close` ends it. Either is a context manager.

        A broker that restarts is asked again; until it is back, nothing is said.

        Args:
            pool: the pool's name.
            callback: takes a `Pressure`.

        Raises:
            UnknownPool: there is none of that name.
            Unavailable: the broker is not there.
            DeadlineExceeded: it did not answer.
        """
        check_name("pool", pool)
        latest = Latest(callback)
        order = WatchOrder(pool, latest.put)
        stop = functools.partial(self._cancel, order)
        watch = PressureChanges(latest, stop) if callback is None else PressureWatch(latest, stop)
        self._post(order)
        try:
            if not latest.begin(self.connect_timeout + QUERY_TIMEOUT_S):
                raise self._no_answer()
        except BaseException:
            watch.close()
            raise
        return watch

    def events(self, *names: str, after: int | None = None, follow: bool = True) -> Generator[Event, None, None]:
        """Be told what happens at the broker, each as an `Event`, until the generator is closed (docs/events.md).

        A reader that is slow has up to 1000 waiting for it at the broker; of more, the oldest are left out and counted
        (`Event.lost`). Through a lost connection, or a restart of the broker, it goes on with what was not told yet. It is
        read by the thread that began it.

        Args:
            names: of events, or how they begin and `*`, as "worker.*"; none: all.
            after: events that are kept (the last 1000) and have a higher number come first; 0: all of those; None: none.
            follow: whether to wait for more; else it ends after those that are kept.

        Raises:
            PermissionDenied: whoever asks may not read everything.
            InvalidArgument: a name is none, or of no event.
            Unavailable: the broker is gone, and does not come back in time.
        """
        return self._events(Listening(names, after, follow=follow))

    # --- below: calls ---

    def _events(self, listening: Listening) -> Generator[Event, None, None]:
        while True:
            try:
                for row in self._stream(listening):
                    if row is None:
                        return
                    if (event := listening.told(row)) is not None:
                        yield event
            except Unavailable as error:
                if not listening.goes_on_after(error):
                    raise

    def _stream(self, call: Call) -> Generator[Any, None, None]:
        now = time.monotonic()
        call.begin(now)
        channel = self._enter(call)
        claim(call, self._origin, now)
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
                now = time.monotonic()
                again_at = call.again_at(answer, now)
                if again_at is None:
                    keep(Place.of(answer, call, self._origin, now))
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
                    item.under_way = CallOrder(item.call, functools.partial(_arrive, arrivals, item))
                    self._post(item.under_way)
                if plan.ready:
                    yield plan.take()
                elif not plan.finished:
                    _await_arrivals(plan, arrivals)
        finally:
            for order in plan.close():
                self._cancel(order)


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
