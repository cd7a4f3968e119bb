"""Sending that waits for room under anyio: the part that the DEALERs with and without libzmq share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress

import anyio
import anyio.lowlevel

from maitred.transport.errors import WouldBlock
from maitred.transport.frames import OutFrame

__all__ = ["DEFAULT_SEND_TIMEOUT_S", "SEND_RETRY_S", "Sending"]

DEFAULT_SEND_TIMEOUT_S = 10.0
"""Seconds that a send waits for a place in the queue, or for a connection."""

SEND_RETRY_S = 0.05
"""Seconds after which a waiting send tries again even if nothing woke it: nobody may be receiving at the time."""


class Sending(ABC):
    """Has `send` wait where `send_nowait` would not do; whoever finds that there may be room calls `wake_senders`."""

    def __init__(self) -> None:
        self._room: anyio.Event | None = None  # while somebody waits for it

    @abstractmethod
    def send_nowait(self, frames: Sequence[OutFrame]) -> None:
        """Send one message whole, or not at all; from any task of the loop.

        Raises:
            WouldBlock: the other end does not read, or nobody is connected.
            SocketClosed: it was closed.
        """

    async def send(self, frames: Sequence[OutFrame], *, timeout_s: float = DEFAULT_SEND_TIMEOUT_S) -> None:
        """Send one message whole, waiting for room or a connection; always a checkpoint.

        Cancelled, it has sent nothing. Messages of one task keep their order; those of several tasks have none.

        Raises:
            WouldBlock: there was no room within `timeout_s`; nothing was sent.
            SocketClosed: it was closed.
        """
        await anyio.lowlevel.checkpoint_if_cancelled()
        with suppress(WouldBlock):
            self.send_nowait(frames)
            await anyio.lowlevel.cancel_shielded_checkpoint()
            return
        with anyio.move_on_after(timeout_s):
            while True:
                await self._wait_for_room()
                with suppress(WouldBlock):
                    self.send_nowait(frames)
                    return
        raise WouldBlock(f"no room in the queue, or nobody connected, for {timeout_s:g} s")

    def wake_senders(self) -> None:
        """There may be room now."""
        if self._room is not None:
            self._room.set()
            self._room = None

    async def _wait_for_room(self) -> None:
        if self._room is None:
            self._room = anyio.Event()
        with anyio.move_on_after(SEND_RETRY_S):
            await self._room.wait()
