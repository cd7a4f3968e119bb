"""How full a pool is, for a task that watches it: as `pressure`, without a thread."""

from __future__ import annotations

import anyio
import anyio.lowlevel

from maitred.client.async_link import AsyncLink
from maitred.client.calls import QUERY_TIMEOUT_S
from maitred.client.dropped import Dropped
from maitred.client.errors import DeadlineExceeded
from maitred.client.origin import Origin
from maitred.client.pressure import Pressure, pressure_of
from maitred.protocol.client import Failed, PressureChanged

__all__ = ["AsyncPressure"]


class _Latest:
    """The newest word. The link holds this, and not the watch, which can thus be dropped."""

    def __init__(self) -> None:
        self.word: PressureChanged | Failed | None = None
        self.came = anyio.Event()

    def put(self, event: PressureChanged | Failed) -> None:
        self.word = event
        self.came.set()

    async def wait(self) -> None:
        while self.word is None:
            self.came = anyio.Event()
            await self.came.wait()


class AsyncPressure(Dropped):
    """How full a pool is: `async with client.pressure(…) as changes: async for pressure in changes`.

    The first one is there at once; each `anext` then waits for the next change. A reader that is slow is told the latest
    state, not each one in between. Cancelled while it waits, it has lost nothing.
    """

    def __init__(self, link: AsyncLink, origin: Origin, pool: str) -> None:
        super().__init__(link, origin)
        self._pool = pool
        self._latest = _Latest()
        self._request_id = 0
        self._over = False

    async def __aenter__(self) -> AsyncPressure:
        """Begin to watch.

        Raises:
            UnknownPool: there is none of that name.
            Unavailable: the broker is not there.
            DeadlineExceeded: it did not answer.
        """
        self._request_id = next(self._origin.numbers)
        try:
            with anyio.move_on_after(QUERY_TIMEOUT_S + self._link.connect_timeout):
                await self._link.watch(self._request_id, self._pool, self._latest.put)
                await self._latest.wait()
            if self._latest.word is None:
                text = f"the broker at {self._link.endpoint} did not answer within {QUERY_TIMEOUT_S:g} s"
                raise DeadlineExceeded(text, pool=self._pool, where="unknown", timeout=QUERY_TIMEOUT_S)
            if isinstance(self._latest.word, Failed):
                raise self._latest.word.error
        except BaseException:
            self.close()
            raise
        return self

    async def __anext__(self) -> Pressure:
        if self._over:
            raise StopAsyncIteration
        if not self._request_id:
            raise RuntimeError("a watch begins with `async with`")
        if self._latest.word is not None:
            await anyio.lowlevel.checkpoint()
        await self._latest.wait()
        word, self._latest.word = self._latest.word, None
        if isinstance(word, Failed):
            self._over = True
            raise word.error
        assert word is not None
        return pressure_of(word)

    def close(self) -> None:
        """Watch no more. Repeatable; does not wait."""
        self._over = True
        self._link.abandon(self._request_id)
