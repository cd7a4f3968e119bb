"""The one owner of one or several ZeroMQ sockets inside one trio task."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio
import zmq

from maitred.transport.drain import DEFAULT_BATCH, Handler, OverlongHandler, PumpStatistics
from maitred.transport.frames import DEFAULT_MAX_FRAMES
from maitred.transport.owner import DEFAULT_SAFETY_INTERVAL_S, EventLoop, Owner

__all__ = ["Pump", "PumpStatistics"]

_TRIO = EventLoop(
    move_on_after=trio.move_on_after,
    checkpoint=trio.lowlevel.checkpoint,
    wait_readable=trio.lowlevel.wait_readable,
    notify_closing=trio.lowlevel.notify_closing,
    closed_while_waiting=trio.ClosedResourceError,
)


class Pump(Owner):
    """Owns sockets; `run` is its task. `send`, `pump`, `kick` and `statistics` are `Drain`'s.

    Args:
        sockets: owned from here on: all calls on them go through the pump, in trio's thread.
        on_message: called with the socket's index and the frames; an exception ends `run` with it.
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
            loop=_TRIO,
            batch=batch,
            on_idle=on_idle,
            on_overlong=on_overlong,
            on_portion=on_portion,
            max_frames=max_frames,
            safety_interval_s=safety_interval_s,
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Receive until `close` is called.

        Cancelling it cuts no message: what was not handed on stays in its queue, the sockets stay open, and `run` may
        be called again.

        Raises:
            RuntimeError: it runs already.
            Exception: whatever a callback raised.
        """
        task_status.started()
        await self.wait_and_receive()
