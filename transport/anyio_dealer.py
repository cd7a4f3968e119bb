"""One DEALER under anyio (trio or asyncio): one task receives, any task of the loop sends.

The traps are covered where they are for the broker, in `Drain` and `Owner`; added here is a `send` that waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeAlias

import anyio
import anyio.abc
import anyio.lowlevel
import zmq

from maitred.transport.anyio_sending import Sending
from maitred.transport.drain import DEFAULT_BATCH, PumpStatistics
from maitred.transport.frames import DEFAULT_MAX_FRAMES, Frame, OutFrame
from maitred.transport.owner import DEFAULT_SAFETY_INTERVAL_S, EventLoop, Owner

__all__ = ["AnyioDealer", "MessageHandler"]

MessageHandler: TypeAlias = Callable[[list[Frame]], None]
"""Called with the frames of one message."""

_ANYIO = EventLoop(
    move_on_after=anyio.move_on_after,
    checkpoint=anyio.lowlevel.checkpoint,
    wait_readable=anyio.wait_readable,
    notify_closing=anyio.notify_closing,
    closed_while_waiting=anyio.ClosedResourceError,
)


def _no_receiver(frames: list[Frame]) -> None:
    raise AssertionError(f"{len(frames)} frames were received before receive_loop() gave a handler")


class AnyioDealer(Sending):
    """Owns one DEALER; used in one event loop.

    Args:
        socket: owned from here on; connected before or after.
        batch: messages received before other tasks run.
        on_portion: called after each portion of messages; may `send_nowait`.
        max_frames: frames in one message; a longer one is thrown away and counted.
        safety_interval_s: seconds without a wake-up before the socket is looked at anyway.
        watched: a descriptor that tells of handshakes; owned by the caller, closed after this.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        *,
        batch: int = DEFAULT_BATCH,
        on_portion: Callable[[], None] | None = None,
        max_frames: int = DEFAULT_MAX_FRAMES,
        safety_interval_s: float = DEFAULT_SAFETY_INTERVAL_S,
        watched: int = -1,
    ) -> None:
        self._watched = watched
        self._watching = False
        self._on_message: MessageHandler = _no_receiver
        super().__init__()
        self._owner = Owner(
            [socket],
            lambda _, frames: self._on_message(frames),
            loop=_ANYIO,
            batch=batch,
            # ZeroMQ announces room through the same descriptor as messages, so whenever the receiver was woken and has
            # drained the socket, there may be some.
            on_idle=self.wake_senders,
            on_portion=on_portion,
            max_frames=max_frames,
            safety_interval_s=safety_interval_s,
        )

    def send_nowait(self, frames: Sequence[OutFrame]) -> None:
        """Send one message whole, or not at all; from any task of the loop.

        Raises:
            WouldBlock: the queue is full or nobody is connected.
            SocketClosed: it was closed.
        """
        self._owner.send(0, frames)

    async def receive_loop(
        self, on_message: MessageHandler, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Hand each message to `on_message` until `close` is called; `on_message` may `send_nowait`.

        Cancelling it cuts no message, and it may be called again.

        Raises:
            RuntimeError: it runs already.
            Exception: whatever `on_message` raised.
        """
        if not self._owner.running:
            self._on_message = on_message
        task_status.started()
        await self._owner.wait_and_receive()

    @property
    def rescues(self) -> int:
        """Messages found waiting while nothing would have woken the receiver; more than 0 is a bug."""
        return self._owner.rescues

    async def handshake(self) -> None:
        """Wait until there is something new to be known of the connection: it is made, or was refused."""
        self._watching = True
        with suppress(anyio.ClosedResourceError):
            await anyio.wait_readable(self._watched)

    def kick(self) -> None:
        """Have a portion received soon, and `on_portion` called, whether anything came or not."""
        self._owner.kick()

    def statistics(self) -> PumpStatistics:
        """Return the counts as they are now."""
        return self._owner.statistics()

    def close(self, linger_ms: int | None = None) -> None:
        """End `receive_loop` and close the socket; waiting sends raise `SocketClosed`. Repeatable."""
        if self._watching:
            anyio.notify_closing(self._watched)
            self._watching = False
        self._owner.close(linger_ms)
        self.wake_senders()
