"""The waiting of an owner of sockets, written once for trio and anyio.

`Drain` does the work. This loop sleeps between, and looks slowly whether the sleeping lost anything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import zmq

from maitred.transport.drain import DEFAULT_BATCH, Drain, Handler, OverlongHandler
from maitred.transport.frames import DEFAULT_MAX_FRAMES

__all__ = ["DEFAULT_SAFETY_INTERVAL_S", "EventLoop", "Owner"]

DEFAULT_SAFETY_INTERVAL_S = 1.0
"""Seconds without a wake-up after which the sockets are looked at anyway. It costs a few µs a second and bounds what a
stall, which would be a bug, can do: the length of two intervals."""


@dataclass(frozen=True, slots=True)
class EventLoop:
    """What an owner needs of an event loop."""

    move_on_after: Callable[[float], AbstractContextManager[object]]
    checkpoint: Callable[[], Awaitable[None]]
    wait_readable: Callable[[int], Awaitable[None]]
    notify_closing: Callable[[int], None]
    closed_while_waiting: type[Exception]


class Owner(Drain):
    """A `Drain` that can sleep; see there for the other arguments.

    Args:
        sockets: owned from here on.
        on_message: called for each message; an exception ends `wait_and_receive` with it.
        loop: the event loop's calls.
        batch: messages from one socket before the next one's turn, and before other tasks run.
        on_idle: called before each sleep; may `send`.
        on_overlong: called for messages of too many frames.
        on_portion: called after each portion of messages from a socket; may `send`.
        max_frames: frames in one message.
        safety_interval_s: seconds without a wake-up before the sockets are looked at anyway.
    """

    def __init__(
        self,
        sockets: Sequence[zmq.Socket[bytes]],
        on_message: Handler,
        *,
        loop: EventLoop,
        batch: int = DEFAULT_BATCH,
        on_idle: Callable[[], None] | None = None,
        on_overlong: OverlongHandler | None = None,
        on_portion: Callable[[], None] | None = None,
        max_frames: int = DEFAULT_MAX_FRAMES,
        safety_interval_s: float = DEFAULT_SAFETY_INTERVAL_S,
    ) -> None:
        super().__init__(
            sockets,
            on_message,
            batch=batch,
            on_idle=on_idle,
            on_overlong=on_overlong,
            on_portion=on_portion,
            max_frames=max_frames,
        )
        self._loop = loop
        self._safety_interval_s = safety_interval_s
        self._running = False
        self._waiting = False
        self._asleep = False
        self._rounds = 0

    async def wait_and_receive(self) -> None:
        """Receive until `close` is called. Cancelling cuts no message; it may be called again.

        Raises:
            RuntimeError: it runs already: a socket has one owner.
            Exception: whatever a callback raised.
        """
        if self._running:
            raise RuntimeError("these sockets are being received from already, by another task")
        self._running = True
        try:
            await self._receive_in_intervals()
        finally:
            self._running = False

    async def _receive_in_intervals(self) -> None:
        self._asleep = False  # what arrived before may be announced no more: begin by looking
        while not self._closed:
            rounds = self._rounds
            # One scope an interval, rather than one a wake-up.
            with self._loop.move_on_after(self._safety_interval_s):
                await self._receive_until_closed()
            if self._asleep and self._rounds == rounds:
                self._look_for_stall()

    async def _receive_until_closed(self) -> None:
        while not self._closed:
            if not self._asleep:  # cut short by the interval it sleeps on: looking here would hide what it must count
                self._rounds += 1
                if self._hand_on():
                    await self._loop.checkpoint()
                    continue
            if not await self._sleep():
                return

    async def _sleep(self) -> bool:
        """Sleep until a descriptor or a kick; False when closed."""
        if self._closed:
            return False
        self._waiting = self._asleep = True
        try:
            await self._loop.wait_readable(self._readiness.fileno())
        except self._loop.closed_while_waiting:
            return False
        finally:
            self._waiting = False
        self._asleep = False
        self._wakeups += 1
        return True

    @property
    def running(self) -> bool:
        """Whether a task is receiving."""
        return self._running

    def close(self, linger_ms: int | None = None) -> None:
        """End the receiving, and close the sockets.

        Unsent messages may still leave for `linger_ms`, else for as long as each socket was made for. Repeatable.
        """
        if self._waiting and not self._closed:
            self._loop.notify_closing(self._readiness.fileno())
        super().close(linger_ms)
