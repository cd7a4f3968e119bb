"""The broker's shell: two ROUTER sockets or three, one trio loop, one timer around `core.BrokerCore`. It decides nothing.

    sockets → frames → core.receive → effects → frames → sockets

What a portion of received messages makes the core say is sent at its end, to each peer that takes bundles as one. A send
never blocks: a full peer's messages wait in the outbox, those to a peer that is gone, or that does not read, go back into
the core as `undeliverable`. An exception out of the core is a bug: the last headers are kept and it ends.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import trio
import zmq

from maitred.broker.core.effects import Effect, Event, Forward, Note, Peer, Reload, Send, Side, Traced
from maitred.broker.core.journey import Journey
from maitred.broker.core.meters import Histogram
from maitred.broker.core.router import BrokerCore
from maitred.broker.core.settings import CoreSettings
from maitred.broker.outbox import FIRST_RETRY_S, LONGEST_RETRY_S, Outbox
from maitred.protocol import frames as wire
from maitred.protocol import limits
from maitred.protocol.bundles import first_of, opened
from maitred.transport.connections import Connections
from maitred.transport.errors import HostUnreachable, SocketClosed, WouldBlock
from maitred.transport.frames import TooManyFrames
from maitred.transport.host import HostedPump
from maitred.transport.pump import Pump

SIDES = tuple(Side)
"""By the index of the socket; calling the enumeration takes half a microsecond."""

REMEMBERED_INPUTS = 1000
"""Headers kept for a post-mortem: who said what, and when. Bodies and what came before them are not kept."""

INTRODUCTIONS = frozenset(bytes([number]) for number in (10, 30, 31, 50))
"""Numbers of HELLO, REGISTER, ATTACH and AGENT: what stands in a header behind the magic and the mark of the array."""

LOOKED_AT = INTRODUCTIONS | {b"", b"0"}
"""These, and what stands there in the first frame of Majordomo's protocol: nothing, or the fifth byte of "MDPC01"."""

HEAD_BYTES = 1024
"""Of a header, in what is kept for a post-mortem: all but a registration is far shorter."""

REMEMBERED_BYTES = 64
"""Of each of the first frames of a message of Majordomo's protocol, in what is kept for a post-mortem."""

GATHER_S = 200e-6
"""What there is to say waits so long for more, and for the message in hand to be worked on, while messages keep coming: the
first part of a stream does not wait for the others, and a dozen messages are enough to make one of them cheap."""

FAREWELL_S = 2.0
"""At the end of a drain, so long is waited for peers that are slow to take their answers."""


class Shell:
    """Runs a core over bound ROUTER sockets, which it owns from here on.

    Args:
        settings: the core's.
        clients: where clients connect.
        workers: where workers and agents connect.
        on_note: called for each event, in the loop's thread; must not block.
        majordomo: where both roles of Majordomo's protocol connect, if there is such a port.
        on_reload: called where an operator wants the file read again that says who may do what.
        on_traced: called with each traced request that has ended, where the settings ask for that; must not block.
        make_pump: `Pump` under plain trio; the `pump` of a `Host` where the process is the broker's alone.
        connections: to these sockets, in their order, where they are watched already, as from before they were bound.

    Attributes:
        connections: who is connected to each socket.
        lag: seconds by which the timer was late, each time that it was due.
        on_whole: called with the descriptor by which each whole message came, while somebody wants to know; else None.
    """

    def __init__(
        self,
        settings: CoreSettings,
        clients: zmq.Socket[bytes],
        workers: zmq.Socket[bytes],
        on_note: Callable[[Note], None],
        make_pump: Callable[..., Pump | HostedPump] = Pump,
        majordomo: zmq.Socket[bytes] | None = None,
        on_reload: Callable[[Reload], object] = lambda _: None,
        connections: Sequence[Connections[Peer]] = (),
        on_traced: Callable[[Journey], object] = lambda _: None,
    ) -> None:
        self._now = trio.lowlevel.current_clock().current_time  # looking the clock up each time costs as much again
        self.core = BrokerCore(settings, self._now())
        self.draining = False
        self.drained = trio.Event()
        self.inputs: deque[tuple[float, Peer, bytes]] = deque(maxlen=REMEMBERED_INPUTS)
        sockets = [clients, workers] if majordomo is None else [clients, workers, majordomo]
        self._pump = make_pump(
            sockets,
            self._receive,
            on_overlong=self._receive_overlong,
            on_portion=self._end_portion,
            max_frames=limits.MAX_FRAMES + 1,  # the ROUTER puts the peer's name in front
        )
        self.lag = Histogram()
        self.on_whole: Callable[[int], object] | None = None
        self.connections: list[Connections[Peer]] = [*connections] or [Connections(socket) for socket in sockets]
        for side in self.connections:
            side.on_hangup = self._hung_up
        self._gathered: dict[Peer, list[Send | Forward]] = {}
        self._in_portion = False
        self._gathers_since = 0.0
        self._outbox = Outbox()
        self._waiting = self._outbox.lines  # asked for each message that is sent
        self._retry_s = FIRST_RETRY_S
        self._on_note = on_note
        self._on_reload = on_reload
        self._on_traced = on_traced
        self._timer = trio.CancelScope()
        self._timer_at = math.inf
        self._leave_by: float | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; the sockets are closed then, after what was sent has left."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tick_for_ever)
                for side in self.connections:
                    nursery.start_soon(side.run)
                await nursery.start(self._pump.run)
                task_status.started()
        finally:
            for side in self.connections:
                side.close()
            self._pump.close()

    def operate(self, verb: str, target: str, software: str, principal: str) -> dict[str, Any] | str:
        """As `BrokerCore.operate`; what it has others do is sent."""
        done, effects = self.core.operate(verb, target, software, principal, self._now())
        self.perform(effects)
        return done

    def tell(self, events: Sequence[Event]) -> None:
        """Have those who listen be told."""
        self.perform(self.core.happened(events, self._now()))

    def drain(self) -> None:
        """Stop admitting; `drained` is set once everything is answered, and the answers are handed to ZeroMQ."""
        self.draining = True
        self.perform(self.core.drain(self._now()))

    def end_drain(self) -> None:
        """Wait for nothing more: who was to be answered is told that there will be no result."""
        if not self.draining:
            self.drain()
        self.perform(self.core.end_drain(self._now()))

    @property
    def rescues(self) -> int:
        """Messages that were found waiting though nothing would have told of them; a pump that looks itself has none."""
        return self._pump.rescues if isinstance(self._pump, Pump) else 0

    def held_bytes(self) -> int:
        """What waits here for workers and for slow readers, all of it bounded: arguments and answers."""
        return self.core.state.size + self._outbox.bytes

    def perform(self, effects: list[Effect]) -> None:
        """Do what the core asks; while a portion is being received, what is to be sent gathers."""
        self._take(effects)
        if not self._in_portion:
            self._end_step()

    def _take(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send | Forward):
                sends = self._gathered.get(effect.peer)
                if sends is None:
                    self._gathered[effect.peer] = [effect]
                else:
                    sends.append(effect)
            elif isinstance(effect, Note):
                self._on_note(effect)
            elif isinstance(effect, Reload):
                self._on_reload(effect)
            elif isinstance(effect, Traced):
                self._on_traced(effect.journey)
            else:
                self._leave_by = self._now() + FAREWELL_S

    def _send_gathered(self) -> None:
        """Send what has gathered, all of a peer together; and then what the core asks for where one is gone."""
        while self._gathered:
            gathered, self._gathered = self._gathered, {}
            for peer, sends in gathered.items():
                self._take(self._deliver(peer, sends))

    def _end_step(self) -> None:
        """Send what has gathered, and know when to wake at the latest."""
        self._send_gathered()
        if self._leave_by is not None and (not self._outbox or self._now() >= self._leave_by):
            self.drained.set()
        wake_at = self._wake_at()
        if wake_at < self._timer_at:  # a later one is found out when it fires: setting it costs more than that
            self._timer_at = self._timer.deadline = max(wake_at, self._now())

    def _receive(self, index: int, message: list[Any]) -> int:
        now = self._now()
        if self.on_whole is not None:  # the process is short of memory
            self.on_whole(self._pump.descriptor(index))
        if not self._in_portion:
            self._in_portion, self._gathers_since = True, now
        elif (
            now - self._gathers_since > GATHER_S
        ):  # more and more comes: what there is to say does not wait for all of it
            self._send_gathered()
            self._gathers_since = now
        route = message[0]
        peer = Peer(SIDES[index], route if type(route) is bytes else bytes(route))
        del message[0]
        several = opened(message)
        if several is None:
            self._receive_one(peer, message, now)
            return 1
        for one in several:
            self._receive_one(peer, one, now)
        return len(several)

    def _receive_one(self, peer: Peer, message: list[Any], now: float) -> None:
        head = message[0] if message else b""
        kind = head[4:5] if type(head) is bytes else b""
        if kind not in LOOKED_AT:  # nearly always
            short = type(head) is bytes and len(head) <= HEAD_BYTES
            self.inputs.append((now, peer, head if short else _beginning(head, HEAD_BYTES)))
            # A peer may give itself any name, that of a connection which has ended too, and at any time: where there are
            # keys, each message says whose it is.
            user = self._pump.user(peer.side) if self.core.state.policy.keys else ""
            self._take(self.core.receive(peer, message, now, user))
            return
        # of an introduction, what follows may be a secret; of Majordomo's, the first frame says next to nothing
        beginning = head[:5] if kind in INTRODUCTIONS else b" ".join(_beginning(frame) for frame in message[:3])
        self.inputs.append((now, peer, beginning))
        known = self.core.speaks_majordomo(peer)
        self._take(self.core.receive(peer, message, now, self._pump.user(peer.side)))
        if kind in INTRODUCTIONS or (not known and self.core.speaks_majordomo(peer)):
            self.connections[peer.side].note(self._pump.descriptor(peer.side), peer)

    def _end_portion(self) -> None:
        self._in_portion = False
        self._end_step()

    def _hung_up(self, peer: Peer) -> None:
        self.perform(self.core.hung_up(peer, self._now()))

    def _receive_overlong(self, index: int, notice: TooManyFrames) -> None:
        # As many empty frames (the first named the peer) make the core refuse it just as it would have refused the whole.
        self.perform(self.core.receive(Peer(Side(index), notice.first), [b""] * (notice.frames - 1), self._now()))

    async def _tick_for_ever(self) -> None:
        for _ in itertools.count():
            self._timer_at = max(self._wake_at(), self._now())  # how late it is, is counted from here at the earliest
            with trio.CancelScope(deadline=self._timer_at) as self._timer:
                await trio.sleep_forever()
            self.lag.observe(max(self._now() - self._timer_at, 0.0))
            progress = self._outbox.retry(self._retry)
            self._retry_s = FIRST_RETRY_S if progress else min(2 * self._retry_s, LONGEST_RETRY_S)
            self.perform(self.core.tick(self._now()))

    def _wake_at(self) -> float:
        due = self.core.next_deadline()
        return min(due, self._now() + self._retry_s) if self._waiting else due

    def _deliver(self, peer: Peer, sends: list[Send | Forward]) -> Sequence[Effect]:
        """Hand messages to ZeroMQ, or keep them for a full peer; returns what the core asks for where it is gone."""
        if peer not in self._waiting:
            try:
                if len(sends) == 1:  # nearly always
                    self._pump.send(peer.side, [peer.route, *_frames_of(sends[0])])
                else:
                    self._send(peer, sends)
                return ()
            except WouldBlock:
                self._retry_s = FIRST_RETRY_S
            except (HostUnreachable, SocketClosed):
                return self.core.all_undeliverable(peer, [send.message for send in sends], self._now())
        return self._keep(peer, sends)

    def _send(self, peer: Peer, sends: list[Send | Forward]) -> None:
        """Hand messages to ZeroMQ; those that it took are taken off the list: the others are known where it fails."""
        waiting = [_frames_of(send) for send in sends]
        together = len(waiting) > 1 and self.core.may_bundle(peer)
        while waiting:
            message, count = first_of(waiting) if together else (waiting[0], 1)
            self._pump.send(peer.side, [peer.route, *message])
            del waiting[:count], sends[:count]

    def _keep(self, peer: Peer, sends: list[Send | Forward]) -> list[Effect]:
        effects: list[Effect] = []
        for place, send in enumerate(sends):
            victim = self._outbox.add(send)
            if victim == peer:
                return effects + self._give_up(peer, sends[place:])
            if victim is not None:
                effects += self._give_up(victim)
        return effects

    def _give_up(self, peer: Peer, unsent: Sequence[Send | Forward] = ()) -> list[Effect]:
        """A peer is gone or does not read: everything that waited for it comes back to the core, oldest first."""
        lost = self._outbox.drop(peer)
        lost += unsent[1:] if lost and unsent and lost[-1] is unsent[0] else unsent
        effects = self.core.all_undeliverable(peer, [send.message for send in lost], self._now())
        return [Note("peer.overflow", {"side": peer.side.name.lower()}), *effects]

    def _retry(self, send: Send | Forward) -> bool:
        try:
            self._send(send.peer, [send])
        except WouldBlock:
            return False
        except (HostUnreachable, SocketClosed):
            self.perform(self._give_up(send.peer))
        return True


def _frames_of(send: Send | Forward) -> wire.Frames:
    return wire.encode(send.message, send.body) if isinstance(send, Send) else send.frames


def _beginning(frame: Any, size: int = REMEMBERED_BYTES) -> bytes:
    """What is remembered of a long frame: enough to tell; the frame is not kept from being freed."""
    return frame[:size] if type(frame) is bytes else bytes(frame.buffer[:size])
