"""The owner of ZeroMQ sockets without its event loop: who receives, in what portions, and what must be looked at again.

`Drain` is synchronous and never blocks. `Pump` (trio) and `AnyioDealer` (anyio) add nothing but the waiting. It knows
nothing of what a message means.

The rule it exists for: a ZeroMQ descriptor announces a message once, and any call on the socket may swallow the
announcement. So a socket is *settled* only by a read of EVENTS that said "no input" with no call on that socket since;
the owner may sleep only while every socket is settled; whoever touches a socket from outside settles it again or kicks.

EVENTS costs 1.2 µs by a poll of one socket that does not wait (1.4 by the option: pyzmq looks the option's name up), a
receive that finds nothing 3.4 µs (it raises), a message 1.7 µs. One message per wake-up is best asked for with EVENTS; in
a burst, asking each time would nearly double the cost. So the first few of a portion are asked for, the others are taken
until there is nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import zmq
from zmq.backend import zmq_poll

from maitred.transport.errors import SocketClosed
from maitred.transport.frames import DEFAULT_MAX_FRAMES, Frame, Inbox, OutFrame, TooManyFrames, send_message
from maitred.transport.readiness import Readiness

__all__ = ["DEFAULT_BATCH", "Drain", "Handler", "OverlongHandler", "PumpStatistics"]

Handler: TypeAlias = Callable[[int, list[Frame]], int | None]
"""Called with the index of the socket and the frames of one message. Returns for how many it counts in its portion, where
that is not one."""

OverlongHandler: TypeAlias = Callable[[int, TooManyFrames], None]
"""Called with the index of the socket and what is left of a message that had too many frames."""

DEFAULT_BATCH = 64
"""Messages taken from one socket before the next one's turn, and before other tasks run: about 1 ms of a broker."""

ASK_FIRST = 3
"""Messages of a portion asked for with EVENTS; three questions cost as much as the one exception they may save."""

_POLLIN = int(zmq.POLLIN)


@dataclass(frozen=True, slots=True)
class PumpStatistics:
    """Counts since the start.

    Attributes:
        messages_in: messages handed to the callback.
        messages_out: messages given to ZeroMQ.
        wakeups: times the owner was woken by a descriptor or a kick.
        rescues: messages found waiting while nothing would have woken the owner; more than 0 is a bug.
        batches_full: portions that ended at their bound.
        too_many_frames: messages thrown away for their number of frames.
    """

    messages_in: int
    messages_out: int
    wakeups: int
    rescues: int
    batches_full: int
    too_many_frames: int


class Drain:
    """Receives from and sends to its sockets, for one thread.

    Args:
        sockets: owned from here on: no one else may call them, `close` closes them.
        on_message: called for each message; may call `send`, `kick` and `close`, not `pump`.
        batch: messages from one socket before the next one's turn.
        on_idle: called when everything was handed on, before the owner sleeps; may `send`.
        on_overlong: called for a message of more than `max_frames` frames, which was thrown away.
        on_portion: called after each portion from a socket, for what it made the owner want to send.
        max_frames: frames in one message.
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
    ) -> None:
        if not sockets or batch < 1:
            raise ValueError(
                f"at least one socket and a batch of at least 1 are needed, not {len(sockets)} and {batch}"
            )
        self._sockets = tuple(sockets)
        self._inboxes = tuple(Inbox(socket, max_frames) for socket in sockets)
        self._looks = tuple([(socket, _POLLIN)] for socket in sockets)
        self._settled = [False] * len(sockets)
        self._on_message = on_message
        self._on_idle = on_idle
        self._on_overlong = on_overlong
        self._on_portion = on_portion
        self._batch = batch
        self._readiness = Readiness(int(socket.FD) for socket in sockets)
        self._next = 0
        self._pumping = False
        self._touched = False
        self._closed = False
        self._messages_in = self._messages_out = self._too_many_frames = 0
        self._wakeups = self._rescues = self._batches_full = 0

    def pump(self) -> bool:
        """Hand on what has arrived, at most one portion from each socket.

        May be called by anyone in the owner's thread, at any time but from within a callback. What is left, the owner
        is woken for.

        Returns:
            True when more is waiting, False when all was handed on.

        Raises:
            Exception: whatever a callback raised; later messages stay in their queues.
        """
        more = True
        try:
            more = self._hand_on()
            return more
        finally:
            if more:
                self.kick()

    def _hand_on(self) -> bool:
        """Do what `pump` does, for a caller that comes again by itself while this returns True."""
        if self._closed:
            return False
        if self._pumping:
            raise RuntimeError("pump() was called from within one of its callbacks")
        self._pumping = True
        self._touched = False
        try:
            self._readiness.clear()
            count = len(self._sockets)
            start = self._next = (self._next + 1) % count  # nobody is always first
            for offset in range(count):
                self._receive_batch((start + offset) % count)
                if self._on_portion is not None and not self._closed:
                    self._on_portion()
            if not self._settle():
                return True
            if self._on_idle is not None and not self._closed:
                self._on_idle()
                return not self._settle()
            return False
        finally:
            self._pumping = False

    def send(self, index: int, frames: Sequence[OutFrame]) -> None:
        """Send one message whole, or not at all, on socket number `index`; never blocks.

        Works inside and outside the callbacks: outside, the owner is woken if the call swallowed an announcement.

        Raises:
            HostUnreachable, WouldBlock, SocketClosed: see `maitred.transport.errors`; nothing was sent.
        """
        if self._closed:
            raise SocketClosed("the pump is closed")
        self._settled[index] = False
        try:
            send_message(self._sockets[index], frames)
        except BaseException:
            # Not by `touched`: its kick would have the owner tell those who wait for room, who would try again at once.
            if not self._pumping and not self._closed:
                self._look_again(index)
            raise
        self._messages_out += 1
        if not self._pumping:
            self.touched(index)

    def descriptor(self, index: int) -> int:
        """Of the connection by which the last message came on socket number `index`; -1: there is none."""
        return self._inboxes[index].descriptor

    def user(self, index: int) -> str:
        """Whose connection the last message on socket number `index` came by (`Inbox.user`)."""
        return self._inboxes[index].user

    def touched(self, index: int) -> None:
        """Tell that socket number `index` was called from outside (a send, an option): wake the owner if need be.

        The first call since the owner looked is followed by a look of its own; a second one wakes the owner, which looks
        once for it and for all that follow.
        """
        if self._closed:
            return
        if self._touched:
            self._readiness.kick()
            return
        self._touched = True
        self._look_again(index)

    def _look_again(self, index: int) -> None:
        """Settle a socket that was called from outside, or have the owner look."""
        if not self._settle_one(index):
            self._readiness.kick()

    def kick(self) -> None:
        """Have the owner look at all sockets. From another thread: `trio.from_thread.run_sync(pump.kick)`."""
        self._readiness.kick()

    @property
    def rescues(self) -> int:
        """Messages found waiting while nothing would have woken the owner; more than 0 is a bug."""
        return self._rescues

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def statistics(self) -> PumpStatistics:
        """Return the counts as they are now."""
        return PumpStatistics(
            self._messages_in,
            self._messages_out,
            self._wakeups,
            self._rescues,
            self._batches_full,
            self._too_many_frames,
        )

    def close(self, linger_ms: int | None = None) -> None:
        """Close the sockets (for `linger_ms`, else as each was made, unsent messages may still leave). Repeatable."""
        if self._closed:
            return
        self._closed = True
        self._readiness.close()
        for socket in self._sockets:
            socket.close(linger_ms)

    def _receive_batch(self, index: int) -> None:
        receive, on_message = self._inboxes[index].receive, self._on_message
        received = taken = 0
        while taken < self._batch:
            if self._closed or (received < ASK_FIRST and self._settle_one(index)):
                return
            received += 1
            try:
                message = receive()
            except zmq.Again:
                return  # not settled by this: EVENTS is read again before anyone sleeps
            if message is None:
                break  # throwing away a message without end is a portion of its own
            if isinstance(message, TooManyFrames):
                self._overlong(index, message)
                taken += 1
                continue
            self._messages_in += 1
            taken += on_message(index, message) or 1
        self._batches_full += 1

    def _overlong(self, index: int, notice: TooManyFrames) -> None:
        self._too_many_frames += 1
        if self._on_overlong is not None:
            self._on_overlong(index, notice)

    def _settle(self) -> bool:
        """Whether nothing is waiting on any socket that was touched since it was last asked."""
        if self._closed:
            return True
        quiet = True
        for index, settled in enumerate(self._settled):
            if not settled and not self._settle_one(index):
                quiet = False
        return quiet

    def _settle_one(self, index: int) -> bool:
        quiet = not zmq_poll(self._looks[index], 0)
        self._settled[index] = quiet
        return quiet

    def _look_for_stall(self) -> None:
        """Count a rescue when a message waits and nothing would wake the owner. Call it after a long quiet sleep.

        A message that arrives between the two looks below is counted wrongly: a microsecond, once an interval, and
        only where no other message woke the owner in that interval.
        """
        if self._closed or self._readiness.is_readable():
            return
        self._settled = [False] * len(self._sockets)
        if not self._settle():
            self._rescues += 1
            self._readiness.kick()
