"""The broker's shell: two ROUTER sockets, one trio loop, one timer around `core.BrokerCore`. It decides nothing.

    sockets → frames → core.receive → effects → frames → sockets

A send never blocks: a full peer's messages wait in the outbox, those to a peer that is gone, or that does not read,
go back into the core as `undeliverable`. An exception out of the core is a bug: the last headers are kept and it ends.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import trio
import zmq

from maitred.broker.core.effects import Effect, Note, Peer, Send, Side
from maitred.broker.core.router import BrokerCore
from maitred.broker.core.settings import CoreSettings
from maitred.broker.outbox import FIRST_RETRY_S, LONGEST_RETRY_S, Outbox
from maitred.protocol import frames as wire
from maitred.protocol import limits
from maitred.transport.errors import HostUnreachable, SocketClosed, WouldBlock
from maitred.transport.frames import TooManyFrames
from maitred.transport.hangups import Hangups
from maitred.transport.host import HostedPump
from maitred.transport.pump import Pump

SIDES = tuple(Side)
"""By the index of the socket; calling the enumeration takes half a microsecond."""

REMEMBERED_INPUTS = 1000
"""Headers kept for a post-mortem: who said what, and when. Bodies and what came before them are not kept."""

HELLO = b"\x0a"
"""Number of that message: what stands in a header behind the magic and the mark of the array."""

FAREWELL_S = 2.0
"""At the end of a drain, so long is waited for peers that are slow to take their answers."""


class Shell:
    """Runs a core over two bound ROUTER sockets, which it owns from here on.

    Args:
        settings: the core's.
        clients: where clients connect.
        workers: where workers and agents connect.
        on_note: called for each event, in the loop's thread; must not block.
        make_pump: `Pump` under plain trio; the `pump` of a `Host` where the process is the broker's alone.
    """

    def __init__(
        self,
        settings: CoreSettings,
        clients: zmq.Socket[bytes],
        workers: zmq.Socket[bytes],
        on_note: Callable[[Note], None],
        make_pump: Callable[..., Pump | HostedPump] = Pump,
    ) -> None:
        self._now = trio.lowlevel.current_clock().current_time  # looking the clock up each time costs as much again
        self.core = BrokerCore(settings, self._now())
        self.draining = False
        self.drained = trio.Event()
        self.inputs: deque[tuple[float, Peer, bytes]] = deque(maxlen=REMEMBERED_INPUTS)
        self._pump = make_pump(
            [clients, workers],
            self._receive,
            on_overlong=self._receive_overlong,
            max_frames=limits.MAX_FRAMES + 1,  # the ROUTER puts the peer's name in front
        )
        self._hangups: Hangups[Peer] = Hangups(clients, self._hung_up)
        self._outbox = Outbox()
        self._waiting = self._outbox.lines  # asked for each message that is sent
        self._retry_s = FIRST_RETRY_S
        self._on_note = on_note
        self._timer = trio.CancelScope()
        self._timer_at = math.inf
        self._leave_by: float | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; the sockets are closed then, after what was sent has left."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tick_for_ever)
                nursery.start_soon(self._hangups.run)
                await nursery.start(self._pump.run)
                task_status.started()
        finally:
            self._hangups.close()
            self._pump.close()

    def drain(self) -> None:
        """Stop admitting; `drained` is set once everything is answered, and the answers are handed to ZeroMQ."""
        self.draining = True
        self.perform(self.core.drain(self._now()))

    def perform(self, effects: list[Effect]) -> None:
        """Do what the core asks. The list is the caller's no more: what a failed send makes the core ask is appended."""
        for effect in effects:
            if isinstance(effect, Send):
                effects += self._deliver(effect)
            elif isinstance(effect, Note):
                self._on_note(effect)
            else:
                self._leave_by = self._now() + FAREWELL_S
        if self._leave_by is not None and (not self._outbox or self._now() >= self._leave_by):
            self.drained.set()
        wake_at = self._wake_at()
        if wake_at < self._timer_at:  # a later one is found out when it fires: setting it costs more than that
            self._timer_at = self._timer.deadline = wake_at

    def _receive(self, index: int, message: list[Any]) -> None:
        now = self._now()
        route = message[0]
        peer = Peer(SIDES[index], route if type(route) is bytes else bytes(route))
        del message[0]
        head = message[0] if message else b""
        self.inputs.append((now, peer, head if type(head) is bytes else _beginning(head)))
        self.perform(self.core.receive(peer, message, now))
        if not index and type(head) is bytes and head[4:5] == HELLO:
            self._hangups.note(self._pump.descriptor(index), peer)

    def _hung_up(self, peer: Peer) -> None:
        self.perform(self.core.hung_up(peer, self._now()))

    def _receive_overlong(self, index: int, notice: TooManyFrames) -> None:
        # As many empty frames (the first named the peer) make the core refuse it just as it would have refused the whole.
        self.perform(self.core.receive(Peer(Side(index), notice.first), [b""] * (notice.frames - 1), self._now()))

    async def _tick_for_ever(self) -> None:
        for _ in itertools.count():
            self._timer_at = self._wake_at()
            with trio.CancelScope(deadline=self._timer_at) as self._timer:
                await trio.sleep_forever()
            progress = self._outbox.retry(self._retry)
            self._retry_s = FIRST_RETRY_S if progress else min(2 * self._retry_s, LONGEST_RETRY_S)
            self.perform(self.core.tick(self._now()))

    def _wake_at(self) -> float:
        due = self.core.next_deadline()
        return min(due, self._now() + self._retry_s) if self._waiting else due

    def _deliver(self, send: Send) -> Sequence[Effect]:
        """Hand a message to ZeroMQ, or keep it for a full peer; returns what the core asks for where its peer is gone."""
        if send.peer not in self._waiting:
            try:
                self._send(send)
                return ()
            except WouldBlock:
                self._retry_s = FIRST_RETRY_S
            except (HostUnreachable, SocketClosed):
                return self.core.undeliverable(send.peer, send.message, self._now())
        victim = self._outbox.add(send)
        return () if victim is None else self._give_up(victim, send)

    def _send(self, send: Send) -> None:
        frames = wire.encode(send.message, send.body)
        frames.insert(0, send.peer.route)
        self._pump.send(send.peer.side, frames)

    def _give_up(self, peer: Peer, send: Send) -> list[Effect]:
        """A peer is gone or does not read: everything that waited for it comes back to the core, oldest first."""
        now = self._now()
        effects = [Note("peer.overflow", {"side": peer.side.name.lower()})]
        lost = self._outbox.drop(peer)
        if send.peer == peer and not any(one is send for one in lost):
            lost.append(send)
        return effects + [effect for one in lost for effect in self.core.undeliverable(peer, one.message, now)]

    def _retry(self, send: Send) -> bool:
        try:
            self._send(send)
        except WouldBlock:
            return False
        except (HostUnreachable, SocketClosed):
            self.perform(self._give_up(send.peer, send))
        return True


def _beginning(frame: Any) -> bytes:
    """What is remembered of a frame too long for a header: enough to tell; the frame is not kept from being freed."""
    return bytes(frame.buffer[: limits.MAX_HEADER_BYTES + 1])
