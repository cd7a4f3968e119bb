"""A loop that waits for ZeroMQ sockets itself, with trio as its guest: for a process whose work is to pass messages on.

    messages:    zmq_poll → receive → on_message → send → zmq_poll …        no turn of trio's in between
    all else:    trio, in the same thread, whenever one of its tasks can run (timers, signals, HTTP, …)

Why: a wake-up of trio's own loop (re-arming the descriptor, epoll, deadlines, rescheduling, the task's context) costs
20 to 35 µs where the caches are cold, as they are in a process that slept; a request wakes the broker twice. Measured
with all processes on one core, medians, one request outstanding: `zmq_proxy` 125 µs, this 122 µs, the same forwarding by
a trio task 186 µs.

**Awake or asleep.** Where the next message comes within some tenths of a millisecond, going to sleep costs more than the
wait: the core halts, is woken by another one, and finds its caches cold. So the loop looks again and again for
`busy_poll_s` before it sleeps, but only

- after a message from a side after which the next one is usually that soon (`WORTH_IT`): not where tasks take
  milliseconds, and not where little goes on;
- while nobody else wants the core: it yields before each look, and where a thread took the offer to compute, it goes to
  sleep at once for some hundreds of waits.

One request outstanding, TCP, 2 cores, medians: asleep at once 430 µs, so 270 µs, `zmq_proxy` 263 µs. With 64 outstanding
there is always a message, and no difference; nor in the latency beside 1 to 4 processes that compute, beyond the noise.

Trio's guest mode is public API: its blocking wait happens in a thread of trio's, which posts its turns to this loop.
Callbacks run outside any task; they may use trio's synchronous functions (`Event.set`, a scope's deadline), as there
is only one thread that runs them and trio alike.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, Unpack

import trio
import zmq
from zmq.backend import zmq_poll

from maitred.transport.drain import ASK_FIRST, DEFAULT_BATCH, Handler, OverlongHandler
from maitred.transport.errors import SocketClosed
from maitred.transport.frames import DEFAULT_MAX_FRAMES, Inbox, OutFrame, TooManyFrames, send_message
from maitred.transport.wake import Wake

if TYPE_CHECKING:
    from outcome import Outcome

__all__ = ["Host", "HostedPump"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

WORTH_IT = 0.75
"""Share of the last waits, after a message from the same socket, that were short enough: from here on it stays awake."""

WEIGHT = 1 / 8
"""Of the last wait in that share: a change of load is followed within some ten messages."""

TAKEN_S = 500e-6
"""A look that took so long had another thread compute in between: this core is wanted. libzmq's own threads, and peers
that have a message to pass on, take a tenth of it."""

WAITS_ASLEEP = 500
"""Waits that go to sleep at once after that: so one message in some hundreds has to wait for a slice of who computes."""

_POLLIN = int(zmq.POLLIN)
_FOR_EVER_MS, _NOT_AT_ALL_MS = -1, 0


class _Place:
    """A socket that is served: whose, which, and how often the next message came soon after one of its."""

    __slots__ = ("index", "pump", "soon")

    def __init__(self, pump: HostedPump | None, index: int) -> None:
        self.pump = pump
        self.index = index
        self.soon = 0.0


class Host:
    """Runs one trio program and, between its turns, the sockets of the pumps it made. Used once.

    Args:
        busy_poll_s: how long to look for the next message before going to sleep; 0: not at all.
    """

    def __init__(self, busy_poll_s: float = 0.0) -> None:
        self._busy_poll_s = busy_poll_s
        self._posted: deque[Callable[[], object]] = deque()
        self._wake = Wake()
        self._asleep = False
        self._outcome: Outcome[Any] | None = None
        self._items: list[tuple[Any, int]] = [(self._wake.fileno(), _POLLIN)]
        self._places: dict[Any, _Place] = {}
        self._last = _Place(None, 0)
        self._waits_asleep = 0

    def run(self, async_function: Callable[[Unpack[Ts]], Awaitable[T]], *args: *Ts) -> T:
        """What `trio.run` does: returns or raises what the function does. Signals reach trio as they do there."""
        trio.lowlevel.start_guest_run(
            async_function,
            *args,
            run_sync_soon_threadsafe=self._post,
            run_sync_soon_not_threadsafe=self._posted.append,
            done_callback=self._done,
        )
        while self._outcome is None:
            self._turn()
        return self._outcome.unwrap()

    def pump(
        self,
        sockets: Sequence[zmq.Socket[bytes]],
        on_message: Handler,
        *,
        batch: int = DEFAULT_BATCH,
        on_overlong: OverlongHandler | None = None,
        on_portion: Callable[[], None] | None = None,
        max_frames: int = DEFAULT_MAX_FRAMES,
    ) -> HostedPump:
        """Make an owner of sockets that this loop serves; arguments as `Pump`'s."""
        return HostedPump(self, sockets, on_message, batch, on_overlong, on_portion, max_frames)

    def add(self, pump: HostedPump, sockets: Sequence[zmq.Socket[bytes]]) -> None:
        """Serve a pump's sockets from now on."""
        for index, socket in enumerate(sockets):
            self._items.append((socket, _POLLIN))
            self._places[socket] = _Place(pump, index)

    def remove(self, sockets: Sequence[zmq.Socket[bytes]]) -> None:
        """Serve these no more. Repeatable."""
        for socket in sockets:
            if self._places.pop(socket, None) is not None:
                self._items.remove((socket, _POLLIN))

    def _turn(self) -> None:
        posted = self._posted
        for _ in range(len(posted)):  # not those that they post: messages get their turn
            posted.popleft()()
        for item, _ in zmq_poll(self._items, _NOT_AT_ALL_MS) if posted or self._outcome else self._wait():
            place = self._places.get(item)
            if place is not None and place.pump is not None:
                self._last = place
                place.pump.receive(place.index)
            else:
                self._wake.clear()

    def _wait(self) -> list[tuple[Any, int]]:
        """Wait until a socket has something, or a thread posted: awake where that pays, then asleep."""
        began, last = perf_counter(), self._last
        ready = zmq_poll(self._items, _NOT_AT_ALL_MS)
        if self._waits_asleep:
            self._waits_asleep -= 1
        elif not ready and last.soon >= WORTH_IT:
            ready = self._look_awhile(began)
        if not ready:
            self._asleep = True
            ready = zmq_poll(self._items, _NOT_AT_ALL_MS if self._posted else _FOR_EVER_MS)
            self._asleep = False
        if ready and ready[0][0] is not self._items[0][0]:  # a message ended it, and no thread's post
            was_soon = perf_counter() - began <= self._busy_poll_s
            last.soon += WEIGHT * (was_soon - last.soon)
        return ready

    def _look_awhile(self, began: float) -> list[tuple[Any, int]]:
        now, end = began, began + self._busy_poll_s
        while now < end and not self._posted:
            os.sched_yield()
            if ready := zmq_poll(self._items, _NOT_AT_ALL_MS):
                return ready
            before, now = now, perf_counter()
            if now - before > TAKEN_S:
                self._waits_asleep = WAITS_ASLEEP
                break
        return []

    def _post(self, function: Callable[[], object]) -> None:
        """From any thread. Appended before it is asked who sleeps; `_turn` asks the other way round."""
        self._posted.append(function)
        if self._asleep:
            self._wake.set()

    def _done(self, outcome: Outcome[Any]) -> None:
        self._outcome = outcome


class HostedPump:
    """Owns sockets, as `Pump` does, served by a `Host`. Made by `Host.pump`."""

    def __init__(
        self,
        host: Host,
        sockets: Sequence[zmq.Socket[bytes]],
        on_message: Handler,
        batch: int,
        on_overlong: OverlongHandler | None,
        on_portion: Callable[[], None] | None,
        max_frames: int,
    ) -> None:
        self._host = host
        self._sockets = tuple(sockets)
        self._inboxes = tuple(Inbox(socket, max_frames) for socket in sockets)
        self._looks = tuple([(socket, _POLLIN)] for socket in sockets)
        self._on_message = on_message
        self._on_overlong = on_overlong
        self._on_portion = on_portion
        self._batch = batch
        self._ended = trio.Event()
        self._error: BaseException | None = None
        self._running = False
        self._closed = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Have messages received until `close` is called, or this is cancelled. Cancelling it cuts no message.

        Raises:
            RuntimeError: it runs already.
            Exception: whatever a callback raised, also where it is cancelled just then.
        """
        if self._running:
            raise RuntimeError("these sockets are being received from already, by another task")
        task_status.started()
        if self._closed:
            return
        self._running = True
        self._host.add(self, self._sockets)
        try:
            await self._ended.wait()
        finally:
            self._running = False
            self._host.remove(self._sockets)
            if self._error is not None:
                raise self._error

    def send(self, index: int, frames: Sequence[OutFrame]) -> None:
        """Send one message whole, or not at all, on socket number `index`; never blocks. In the host's thread.

        Raises:
            HostUnreachable, WouldBlock, SocketClosed: see `maitred.transport.errors`; nothing was sent.
        """
        if self._closed:
            raise SocketClosed("the pump is closed")
        send_message(self._sockets[index], frames)

    def descriptor(self, index: int) -> int:
        """Of the connection by which the last message came on socket number `index`; -1: there is none."""
        return self._inboxes[index].descriptor

    def user(self, index: int) -> str:
        """Whose connection the last message on socket number `index` came by (`Inbox.user`)."""
        return self._inboxes[index].user

    def close(self, linger_ms: int | None = None) -> None:
        """Close the sockets (for `linger_ms`, else as each was made, unsent messages may still leave). Repeatable."""
        if self._closed:
            return
        self._closed = True
        self._host.remove(self._sockets)
        self._ended.set()
        for socket in self._sockets:
            socket.close(linger_ms)

    def receive(self, index: int) -> None:
        """Take in what is there on a socket that has something, at most a batch: the host's other work goes on then."""
        try:
            self._receive_portion(index)
            if self._on_portion is not None and not self._closed:
                self._on_portion()
        except BaseException as error:
            self._error = error
            self._host.remove(self._sockets)
            self._ended.set()

    def _receive_portion(self, index: int) -> None:
        take, look = self._inboxes[index].receive, self._looks[index]
        received = taken = 0
        while taken < self._batch:
            try:
                message = take()
            except zmq.Again:
                return
            received += 1
            taken += 1
            if type(message) is list:
                taken += (self._on_message(index, message) or 1) - 1
            elif message is None:
                return  # throwing away a message without end is a portion of its own
            elif self._on_overlong is not None:
                assert isinstance(message, TooManyFrames)
                self._on_overlong(index, message)
            # In a burst asking each time would nearly double the cost of a message; see `drain`.
            if self._closed or (received <= ASK_FIRST and not zmq_poll(look, _NOT_AT_ALL_MS)):
                return
