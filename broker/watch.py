"""Looks after what the broker's process has, beside the shell: descriptors, connections, memory.

    memory ≥ 80 %      nothing new is taken on; who sends what is followed
    memory ≥ 100 %     who has sent most without finishing a message is cut off
                       nobody has, or it did not help: the endpoints are closed and opened again, one after the other
    memory < 75 %      all is well again
    memory in between  for three seconds: as if it were at the limit

Memory that the core knows of (arguments that wait, answers for slow readers) has bounds of its own, and nobody is cut off
for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import trio

from maitred.broker.blame import Blame, Suspect
from maitred.broker.core.effects import Effect
from maitred.broker.core.router import BrokerCore
from maitred.broker.memory import Memory, trim
from maitred.broker.room import Room, descriptors
from maitred.transport.connections import Connections

__all__ = ["Watch"]

CALM_LOOK_S = 0.5
FASTEST_BYTES_S = 2 * 1024**3
"""While there is plenty of memory, it is looked as often as could be needed if it grew this fast, twice what loopback
brings, and no seldomer than CALM_LOOK_S. A look wakes the loop, which the calls that come then pay for."""

LOOK_S = 0.05
"""Between two looks, which take 12 µs: 0.02 % of a core. Over loopback a sender fills 50 MB meanwhile."""

SHARE_OF_TIME = 0.2
"""Most that looks take while memory is scarce: each asks all connections then, 20,000 of them take 0.1 s."""

SQUEEZED_FROM = 0.8
SQUEEZED_UNTIL = 0.75

DESCRIPTORS_HIGH_FROM = 0.8
DESCRIPTORS_HIGH_UNTIL = 0.75

AUDITED = 64
"""Connections looked at one by one at each look: 20,000 in a quarter of a minute, 0.1 ms."""

SETTLING_LOOKS = 3
"""After somebody was cut off, until it is asked whether that was enough: libzmq's thread frees his memory meanwhile."""

MAX_CUTS = 64
"""Connections cut off at one time: the worst one at first, as bytes say little of the memory that they take; twice as many
each time that this was not enough."""

HELD_LOOKS = 60
"""Nothing new is taken on for so long at most while the memory stays below the limit: then it is treated as if it were at
it. Somebody may hold half a message for ever."""

FALLING_BYTES = 1024 * 1024
"""Less than at the last look: memory is being given back, of millions of small frames for a second."""

PATIENCE_LOOKS = 10
"""Over the limit, with nobody to blame, until an endpoint is opened anew."""

REOPENED_AGAIN_S = 60.0
"""An endpoint is not opened anew twice within that: if it did not help, it will not."""


TRIMMED_AFTER_LOOKS = (1, 20, 100)
"""Looks after the end of want at which the allocator gives back what is free: libzmq's thread may free small frames for
seconds, and none of them by itself is given back to the system."""


class Watch:
    """Looks after the process for as long as it runs.

    Args:
        core: told of numbers, and to take on nothing new.
        perform: does what the core asks for.
        sides: the connections of each ROUTER.
        room: whether there is some for one more.
        limit_bytes: of the process's memory.
        known_bytes: what of it is bounded elsewhere.
        on_scarce: called with whom to tell of each whole message by the descriptor it came by; with None, when that is
            over.
        endpoints: that may be opened anew, in this order; each (side, endpoint) as `reopen` takes it.
        reopen: closes an endpoint and opens it again.
        memory: bytes that the process has; None: as the system says.

    Attributes:
        squeezed: whether nothing new is taken on just now.
    """

    def __init__(
        self,
        core: BrokerCore,
        perform: Callable[[list[Effect]], object],
        sides: Sequence[Connections[Any]],
        room: Room,
        limit_bytes: int,
        known_bytes: Callable[[], int],
        on_scarce: Callable[[Callable[[int], object] | None], object],
        endpoints: Sequence[tuple[str, str]],
        reopen: Callable[[str, str], Awaitable[object]],
        memory: Callable[[], int] | None = None,
    ) -> None:
        self.squeezed = False
        self._core = core
        self._perform = perform
        self._sides = sides
        self._room = room
        self._limit = limit_bytes
        self._known_bytes = known_bytes
        self._on_scarce = on_scarce
        self._endpoints = endpoints
        self.reopen = reopen
        self._memory = memory
        self._blame = Blame()
        self._now = trio.lowlevel.current_clock().current_time
        self._descriptors_high = False
        self._settling = 0
        self._used = 0
        self._cuts = 1
        self._looks = 0
        self._plenty_for = TRIMMED_AFTER_LOOKS[-1]
        self._patience = PATIENCE_LOOKS
        self._reopened_at: dict[str, float] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        own = Memory()
        memory = self._memory or own.now
        try:
            while True:
                began = self._now()
                used = memory()
                self._look_at_descriptors(used)
                if self.squeezed or used >= SQUEEZED_FROM * self._limit:
                    await self._look_at_memory(used)
                elif self._plenty_for < TRIMMED_AFTER_LOOKS[-1]:
                    self._plenty_for += 1
                    if self._plenty_for in TRIMMED_AFTER_LOOKS:
                        trim()
                calm_s = min(CALM_LOOK_S, (SQUEEZED_FROM * self._limit - used) / FASTEST_BYTES_S)
                await trio.sleep(max(LOOK_S, calm_s, (self._now() - began) / SHARE_OF_TIME))
        finally:
            own.close()

    def tell(self, event: str, fields: dict[str, Any]) -> None:
        """Tell of something that happened here."""
        self._perform(self._core.witness(event, self._now(), **fields))

    def _look_at_descriptors(self, memory: int) -> None:
        used, limit = descriptors()
        for side in self._sides:
            side.audit(AUDITED)
        self._room.tidy(used, limit)
        self._core.observe(
            descriptors=used, descriptors_limit=limit, connections=self._room.open(), memory=memory,
            memory_limit=self._limit,
        )  # fmt: skip
        high = used >= (DESCRIPTORS_HIGH_UNTIL if self._descriptors_high else DESCRIPTORS_HIGH_FROM) * limit
        if high != self._descriptors_high:
            self._descriptors_high = high
            self.tell("descriptors.high", {"open": used, "limit": limit, "over": not high})

    async def _look_at_memory(self, used: int) -> None:
        if not self.squeezed:
            self._squeeze(True, used)
        elif used < SQUEEZED_UNTIL * self._limit:
            self._squeeze(False, used)
            return
        suspects = self._blame.look(connection for side in self._sides for connection in side)
        if self._settling:
            self._settling -= 1
            if not self._settling:
                trim()
        elif used - self._known_bytes() < self._bearable() or used <= self._used - FALLING_BYTES:
            self._patience = PATIENCE_LOOKS
        elif suspects:
            self._cut(suspects, used)
        else:
            await self._lose_patience()
        self._used = used
        self._looks += 1

    def _bearable(self) -> float:
        """Memory that nobody is cut off for, just now."""
        return self._limit * (1.0 if self._looks < HELD_LOOKS else SQUEEZED_UNTIL)

    def _squeeze(self, on: bool, used: int) -> None:
        self.squeezed = on
        self._core.squeeze(on)
        self._on_scarce(self._blame.whole if on else None)
        self._blame.forget()
        self._patience, self._cuts, self._looks, self._plenty_for = PATIENCE_LOOKS, 1, 0, 0
        self.tell("memory.high", {"memory": used, "limit": self._limit, "over": not on})
        if on:
            trim()

    def _cut(self, suspects: list[Suspect], used: int) -> None:
        for bytes_sent, connection in suspects[: self._cuts]:
            if connection.cut():
                self.tell("connection.cut", {"address": connection.address, "bytes": bytes_sent, "memory": used})
        self._cuts = min(2 * self._cuts, MAX_CUTS)
        self._settling = SETTLING_LOOKS

    async def _lose_patience(self) -> None:
        """Nobody is to blame: after a while, open the endpoints anew, the one whose turn it is."""
        self._patience -= 1
        if self._patience > 0:
            trim()
            return
        now = self._now()
        for side, endpoint in self._endpoints:
            if now - self._reopened_at.get(endpoint, -REOPENED_AGAIN_S) >= REOPENED_AGAIN_S:
                self._reopened_at[endpoint] = now
                self._patience, self._settling = PATIENCE_LOOKS, SETTLING_LOOKS
                await self.reopen(side, endpoint)
                self.tell("endpoint.reopened", {"side": side, "endpoint": endpoint})
                return
