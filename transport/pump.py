"""The one owner of one or several ZeroMQ sockets inside one trio task.

All work on the sockets is `Drain`'s and synchronous; this file adds the waiting, and a slow look that proves that the
waiting loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio
import zmq

from maitred.transport.drain import DEFAULT_BATCH, Drain, Handler, OverlongHandler
from maitred.transport.frames import DEFAULT_MAX_FRAMES

__all__ = ["DEFAULT_SAFETY_INTERVAL_S", "Pump"]

DEFAULT_SAFETY_INTERVAL_S = 1.0
"""Seconds without a wake-up after which the sockets are looked at anyway. It costs 3 µs a second and bounds what a
stall, which would be a bug, can do: the length of two intervals."""


class Pump(Drain):
    """Owns sockets; `run` is its task. See `Drain` for the arguments and for `send`, `kick` and `statistics`.

    Args:
        sockets: owned from here on, as in `Drain`; all calls belong to trio's thread.
        on_message: called with the socket's index and the frames; an exception ends `run` with it.
        batch: messages from one socket before the next one's turn, and before other tasks run.
        on_idle: called before each sleep; may `send`.
        on_overlong: called for messages of too many frames.
        max_frames: frames in one message.
        safety_interval_s: seconds without a wake-up before the sockets are looked at anyway.
    """

    def __init__(
        self,
        sockets: Sequence[zmq.Socket[bytes]],
        on_message: Handler,
        *,
        batch: int = DEFAULT_BATCH,
        on_idle: Callable[[], None] | None = None,
        on_overlong: OverlongHandler | None = None,
        max_frames: int = DEFAULT_MAX_FRAMES,
        safety_interval_s: float = DEFAULT_SAFETY_INTERVAL_S,
    ) -> None:
        super().__init__(
            sockets, on_message, batch=batch, on_idle=on_idle, on_overlong=on_overlong, max_frames=max_frames
        )
        self._safety_interval_s = safety_interval_s
        self._waiting = False
        self._slept = False
        self._rounds = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Receive until `close` is called.

        Cancelling it cuts no message: what was not handed on stays in its queue, the sockets stay open, and `run` may
        be called again.

        Raises:
            trio.BusyResourceError: it runs already.
            Exception: whatever a callback raised.
        """
        task_status.started()
        while not self._closed:
            rounds, self._slept = self._rounds, False
            # One scope an interval, rather than one a wake-up.
            with trio.move_on_after(self._safety_interval_s):
                await self._run_until_closed()
            if self._slept and self._rounds == rounds + 1:
                self._look_for_stall()

    async def _run_until_closed(self) -> None:
        while not self._closed:
            self._rounds += 1
            if self.pump():
                await trio.lowlevel.checkpoint()
            elif not await self._wait():
                return

    async def _wait(self) -> bool:
        """Sleep until a descriptor or a kick; False when closed."""
        if self._closed:
            return False
        self._waiting = self._slept = True
        try:
            await trio.lowlevel.wait_readable(self._readiness.fileno())
        except trio.ClosedResourceError:
            return False
        finally:
            self._waiting = False
        self._wakeups += 1
        return True

    def close(self, linger_ms: int | None = None) -> None:
        """End `run`, and close the sockets; unsent messages may leave for `linger_ms`, else as each socket was made."""
        if self._waiting and not self._closed:
            trio.lowlevel.notify_closing(self._readiness.fileno())
        super().close(linger_ms)
