"""The broker's shell: two ROUTER sockets, one trio loop, one timer around `core.BrokerCore`. It decides nothing.

    sockets → frames → core.receive → effects → frames → sockets

A send never blocks: a full peer's messages wait in the outbox, those to a peer that is gone, or that does not read,
go back into the core as `undeliverable`. An exception out of the core is a bug: the last headers are kept and it ends.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import trio
import zmq

from maitred.broker.core.effects import Drained, Effect, Note, Peer, Send, Side
from maitred.broker.core.router import BrokerCore
from maitred.broker.core.settings import CoreSettings
from maitred.broker.outbox import FIRST_RETRY_S, LONGEST_RETRY_S, Outbox
from maitred.protocol import frames as wire
from maitred.protocol import limits
from maitred.transport.errors import HostUnreachable, SocketClosed, WouldBlock
from maitred.transport.frames import TooManyFrames
from maitred.transport.pump import Pump

SIDES = tuple(Side)
"""By the index of the socket; calling the enumeration takes half a microsecond."""

REMEMBERED_INPUTS = 1000
"""Headers kept for a post-mortem: who said what, and when. Bodies and what came before them are not kept."""

FAREWELL_S = 2.0
"""At the end of a drain, so long is waited for peers that are slow to take their answers."""


class Shell:
    """Runs a core over two bound ROUTER sockets, which it owns from here on.

    Args:
        settings: the core's.
        clients: where clients connect.
        workers: where workers and agents connect.
        on_note: called for each event, in the loop's thread; must not block.
    """

    def __init__(
        self,
        settings: CoreSettings,
        clients: zmq.Socket[bytes],
        workers: zmq.Socket[bytes],
        on_note: Callable[[Note], None],
    ) -> None:
        self.core = BrokerCore(settings, trio.current_time())
        self.draining = False
        self.drained = trio.Event()
        self.inputs: deque[tuple[float, Peer, Sequence[Any]]] = deque(maxlen=REMEMBERED_INPUTS)
        self._pump = Pump(
            [clients, workers],
            self._receive,
            on_overlong=self._receive_overlong,
            max_frames=limits.MAX_FRAMES + 1,  # the ROUTER puts the peer's name in front
        )
        self._outbox = Outbox()
        self._retry_s = FIRST_RETRY_S
        self._on_note = on_note
        self._timer = trio.CancelScope()
        self._leave_by: float | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; the sockets are closed then, after what was sent has left."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tick_for_ever)
                await nursery.start(self._pump.run)
                task_status.started()
        finally:
            self._pump.close()

    def drain(self) -> None:
        """Stop admitting; `drained` is set once everything is answered, and the answers are handed to ZeroMQ."""
        self.draining = True
        self.perform(self.core.drain(trio.current_time()))

    def perform(self, effects: Iterable[Effect]) -> None:
        """Do what the core asks."""
        queue = deque(effects)
        while queue:
            match queue.popleft():
                case Send() as send:
                    queue.extend(self._deliver(send))
                case Note() as note:
                    self._on_note(note)
                case Drained():
                    self._leave_by = trio.current_time() + FAREWELL_S
        if self._leave_by is not None and (not self._outbox or trio.current_time() >= self._leave_by):
            self.drained.set()
        wake_at = self._wake_at()
        if wake_at < self._timer.deadline:  # a later one is found out when it fires: setting it costs more than that
            self._timer.deadline = wake_at

    def _receive(self, index: int, message: Sequence[Any]) -> None:
        now = trio.current_time()
        peer = Peer(SIDES[index], _plain(message[0]))
        self.inputs.append((now, peer, [_header(frame) for frame in message[1:2]]))
        self.perform(self.core.receive(peer, message[1:], now))

    def _receive_overlong(self, index: int, notice: TooManyFrames) -> None:
        # As many empty frames (the first named the peer) make the core refuse it just as it would have refused the whole.
        self.perform(
            self.core.receive(Peer(Side(index), notice.first), [b""] * (notice.frames - 1), trio.current_time())
        )

    async def _tick_for_ever(self) -> None:
        for _ in itertools.count():
            with trio.CancelScope(deadline=self._wake_at()) as self._timer:
                await trio.sleep_forever()
            progress = self._outbox.retry(self._retry)
            self._retry_s = FIRST_RETRY_S if progress else min(2 * self._retry_s, LONGEST_RETRY_S)
            self.perform(self.core.tick(trio.current_time()))

    def _wake_at(self) -> float:
        retry_at = trio.current_time() + self._retry_s if len(self._outbox) else math.inf
        return min(self.core.next_deadline(), retry_at)

    def _deliver(self, send: Send) -> list[Effect]:
        if send.peer not in self._outbox:
            try:
                self._pump.send(send.peer.side, [send.peer.route, *wire.encode(send.message, send.body)])
                return []
            except (HostUnreachable, SocketClosed):
                return self.core.undeliverable(send.peer, send.message, trio.current_time())
            except WouldBlock:
                pass
            self._retry_s = FIRST_RETRY_S
        return [] if self._outbox.add(send) else self._give_up(send)

    def _give_up(self, send: Send) -> list[Effect]:
        """The peer is gone or does not read: everything that waited for it comes back to the core, oldest first."""
        now = trio.current_time()
        effects = [Note("peer.overflow", {"side": send.peer.side.name.lower()})]
        lost = [*self._outbox.drop(send.peer), send]
        return effects + [effect for one in lost for effect in self.core.undeliverable(send.peer, one.message, now)]

    def _retry(self, send: Send) -> bool:
        try:
            self._pump.send(send.peer.side, [send.peer.route, *wire.encode(send.message, send.body)])
        except WouldBlock:
            return False
        except (HostUnreachable, SocketClosed):
            self.perform(self._give_up(send))
        return True


def _plain(frame: Any) -> bytes:
    return frame if isinstance(frame, bytes) else bytes(frame)


def _header(frame: Any) -> bytes:
    """What is remembered of a header: all of it, unless it is too long to be one; no frame is kept from being freed."""
    return frame if isinstance(frame, bytes) else bytes(frame.buffer[: limits.MAX_HEADER_BYTES + 1])
