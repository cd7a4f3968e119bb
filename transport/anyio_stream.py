"""A DEALER without a thread under anyio (trio or asyncio): one task receives, any task of the loop sends.

As `AnyioDealer` to its users; a plain descriptor that says as long as there is something has none of the traps of ZeroMQ's.
"""

from __future__ import annotations

import select
import time
from collections.abc import Awaitable, Callable, Sequence

import anyio
import anyio.abc
import anyio.lowlevel

from maitred.transport.anyio_dealer import MessageHandler
from maitred.transport.anyio_sending import Sending
from maitred.transport.drain import DEFAULT_BATCH
from maitred.transport.frames import OutFrame, TooManyFrames
from maitred.transport.stream_dealer import StreamDealer

__all__ = ["AnyioStream"]


class AnyioStream(Sending):
    """Owns one `StreamDealer`; used in one event loop.

    Args:
        endpoint: the broker's.
        linger_ms: how long what is begun may take to leave when it is closed: the loop stands still meanwhile.
        batch: messages received before other tasks run.
        on_portion: called after each portion of messages, and soon after a `kick`; may `send_nowait`.

    Attributes:
        dealer: what it owns, to be looked at only.

    Raises:
        ConnectError: the endpoint itself is wrong.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        linger_ms: int = 0,
        batch: int = DEFAULT_BATCH,
        on_portion: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self._linger_s = linger_ms / 1000
        self.dealer = self._dealer = StreamDealer(endpoint, before_close=self._tell_waiters)
        self._batch = batch
        self._on_portion = on_portion
        self._waiting = 0
        self._running = False
        self._handing = False
        self._closed = False
        self._ended = anyio.Event()
        self._stuck = anyio.Event()  # something was left unsent
        self._kicked = anyio.Event()
        self._handshake = anyio.Event()

    def send_nowait(self, frames: Sequence[OutFrame]) -> None:
        """Send one message whole, or not at all; from any task of the loop.

        Raises:
            WouldBlock: the other end does not read, or nobody is connected.
            SocketClosed: it was closed.
        """
        try:
            self._dealer.send(frames)
        finally:
            if not self._dealer.has_room:
                self._stuck.set()
            # It may have looked whether the other end is there, and found more than that.
            if self._dealer.has_arrived and not self._handing:
                self.kick()

    async def receive_loop(
        self, on_message: MessageHandler, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Hand each message to `on_message` until `close` is called; `on_message` may `send_nowait`.

        Cancelling it cuts no message, and it may be called again.

        Raises:
            RuntimeError: it runs already.
            Exception: whatever a callback raised.
        """
        if self._running:
            raise RuntimeError("this connection is being received from already, by another task")
        self._running = True
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._obey_kicks, on_message)
                tasks.start_soon(self._finish_sending)
                task_status.started()
                while not self._closed:
                    if not self._dealer.connected:
                        await self._connect()
                    elif self._hand_on(on_message):
                        await anyio.lowlevel.checkpoint()
                    else:
                        await self._wait(anyio.wait_readable)
                tasks.cancel_scope.cancel()
        finally:
            self._running = False

    async def handshake(self) -> None:
        """Wait until there is something new to be known of the connection: it is made, or was refused."""
        await self._handshake.wait()

    def kick(self) -> None:
        """Have what has arrived handed on soon, and `on_portion` called, whether anything has or not."""
        self._kicked.set()

    def close(self) -> None:
        """End `receive_loop` and the connection; waiting sends raise `SocketClosed`. Repeatable."""
        if self._closed:
            return
        self._closed = True
        self._dealer.close(self._linger_s)
        self._ended.set()
        self._handshake.set()
        self.wake_senders()

    def _hand_on(self, on_message: MessageHandler) -> bool:
        """Hand on a portion of what has come; True where there may be more."""
        receive, count = self._dealer.receive, 0
        self._handing = True
        try:
            while count < self._batch and not self._closed:
                message = receive()
                if message is None:
                    break
                count += 1
                if not isinstance(message, TooManyFrames):
                    on_message(message)
            if not self._closed:
                self._on_portion()
        finally:
            self._handing = False
        return count == self._batch

    async def _connect(self) -> None:
        wanted, due = self._dealer.mend()
        with anyio.move_on_after(max(0.0, due - time.monotonic())):
            if self._dealer.fileno() < 0:  # a pause before the next attempt
                await self._ended.wait()
            elif not self._dealer.connected:
                await self._wait(anyio.wait_writable if wanted & select.POLLOUT else anyio.wait_readable)
                if not self._closed:
                    self._dealer.progress(wanted)
        self._handshake.set()
        self._handshake = anyio.Event()
        if self._dealer.has_room:
            self.wake_senders()

    async def _finish_sending(self) -> None:
        """What the kernel did not take at once goes when the other end reads on; nothing else is sent before it."""
        while True:
            await self._stuck.wait()
            self._stuck = anyio.Event()
            while self._dealer.connected and not self._dealer.has_room:
                await self._wait(anyio.wait_writable)
                self._dealer.progress(select.POLLOUT)
            if self._dealer.has_room:
                self.wake_senders()

    async def _wait(self, until_ready: Callable[[int], Awaitable[None]]) -> None:
        """Sleep until the descriptor is ready, or is closed."""
        descriptor = self._dealer.fileno()
        if descriptor < 0:
            return
        self._waiting += 1
        try:
            await until_ready(descriptor)
        except anyio.ClosedResourceError:
            pass
        finally:
            self._waiting -= 1

    async def _obey_kicks(self, on_message: MessageHandler) -> None:
        while True:
            await self._kicked.wait()
            self._kicked = anyio.Event()
            if self._dealer.connected:
                self._hand_on(on_message)
            else:
                self._on_portion()

    def _tell_waiters(self, descriptor: int) -> None:
        if self._waiting:
            anyio.notify_closing(descriptor)
