"""The sessions of a worker whose loop is trio's: what waits of each, and what falls due, on its way into the loop's line.

    SESSION_OPEN → DISPATCH … → SESSION_CLOSE        in the order they came, one at a time, in the session's lane

A state whose time has come, and what is to be told to another broker, waits in the same lane: it is never taken while a
request of the session changes it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any

import trio

from maitred.protocol import messages
from maitred.worker.gathering import Arrived
from maitred.worker.hook_limit import HookCall
from maitred.worker.lanes import Lane, Lanes, Waiting, Work
from maitred.worker.requests import Requests, Taken
from maitred.worker.session_orders import Send, SessionOrders
from maitred.worker.sessions import Owned

__all__ = ["TrioSessions"]


class TrioSessions:
    """All of them.

    Args:
        requests: the process's.
        send: the way to the broker.
        take: begins with requests.
        line_up: puts a lane at the end of the loop's line, and begins what there is room for.
    """

    def __init__(
        self,
        requests: Requests,
        send: Send,
        take: Callable[[Iterable[Arrived]], list[Taken]],
        line_up: Callable[[Lane], object],
    ) -> None:
        self._owned = requests.sessions
        self._orders = SessionOrders(requests, send, _wait)
        self._lanes = Lanes()
        self._take = take
        self._line_up = line_up
        self._changed = trio.Event()
        self._look_at = 0.0

    def obey(self, order: messages.SessionOpen | messages.SessionClose, body: Sequence[Any]) -> None:
        """Have an order of the broker wait for its turn."""
        match order:
            case messages.SessionOpen():
                self._add(order.session, partial(self._orders.open, order, body))
            case messages.SessionClose():
                self._add(order.session, partial(self._orders.close, order))

    def serve_later(self, session: bytes, group: Iterable[Arrived]) -> None:
        """Have a request wait for its turn."""
        self._add(session, Waiting(group, self._take))

    async def run(self, lane: Lane, serve: Callable[[list[Taken]], Awaitable[None]]) -> None:
        """A lane's turn has come: do the first piece of what waits there, and keep what came of it."""
        work = lane.work.popleft()
        try:
            if not isinstance(work, Waiting):
                await work()
                return
            await serve(work.take())
            owned = self._orders.due_after(lane.session)
            if owned is not None:
                await self._orders.keep(owned)
            if self._orders.next_deadline() < self._look_at:
                self._changed.set()
        finally:
            if self._lanes.ran(lane):
                self._line_up(lane)

    def hold(self) -> None:
        """Take all requests that wait: what is not named as held from here on is lost."""
        self._lanes.hold()

    def to_announce(self) -> list[Owned]:
        """What a broker that has just said WELCOME may not know of: it was restarted, or had lost this worker.

        Those that are still to be opened here announce themselves when they are; what it sends from now on, it knows.
        """
        for session in self._lanes.sessions():
            if session not in self._owned:
                self._add(session, partial(self._announce_and_keep, session))
        return self._owned.all()

    async def announce(self, sessions: list[Owned]) -> None:
        """Tell it at once, whatever runs; their states follow when their turn comes."""
        for owned in sessions:
            if owned.order.session in self._owned:
                await self._orders.announce(owned)
                self._add(owned.order.session, partial(self._orders.keep, owned))

    async def keep_what_is_due(self) -> None:
        """Have states be taken when their time has come, for the life of the loop."""
        while True:
            self._changed = trio.Event()
            self._look_at = self._orders.next_deadline()
            with trio.move_on_after(max(0.0, self._look_at - time.monotonic())):
                await self._changed.wait()
            for owned in self._orders.due(time.monotonic()):
                self._add(owned.order.session, partial(self._orders.keep, owned))

    def idle(self) -> None:
        """Nobody waits."""
        self._orders.idle()

    async def drain(self) -> None:
        """Keep all states and close all sessions: nothing runs any more."""
        await self._orders.drain()

    async def _announce_and_keep(self, session: bytes) -> None:
        owned = self._owned.find(session)
        if owned is not None:
            await self._orders.announce(owned)
            await self._orders.keep(owned)

    def _add(self, session: bytes, work: Work) -> None:
        lane = self._lanes.add(session, work)
        if lane is not None:
            self._line_up(lane)


async def _wait(awaitable: Awaitable[Any], call: HookCall) -> Any:
    with trio.move_on_after(call.left_s):
        return await awaitable
    raise call.error()
