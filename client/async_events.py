"""The broker's events for a task: as `Client.events`, without a thread."""

from __future__ import annotations

import anyio

from maitred.client.answers import AsyncStream
from maitred.client.async_link import AsyncLink
from maitred.client.dropped import Dropped
from maitred.client.errors import Unavailable
from maitred.client.listening import Event, Listening
from maitred.client.origin import Origin

__all__ = ["AsyncEvents"]


class AsyncEvents(Dropped):
    """The broker's events: `async for event in client.events(…)`. Cancelled while it waits, it has lost none."""

    def __init__(self, link: AsyncLink, origin: Origin, listening: Listening) -> None:
        super().__init__(link, origin)
        self._listening = listening
        self._stream = AsyncStream(link, origin, listening)

    async def __anext__(self) -> Event:
        """The next event.

        Raises:
            PermissionDenied: whoever asks may not read everything.
            Unavailable: the broker is gone, and does not come back in time.
        """
        while True:
            try:
                row = await anext(self._stream)
            except Unavailable as error:
                if not self._listening.goes_on_after(error):
                    raise
                self._stream = AsyncStream(self._link, self._origin, self._listening)
                continue
            except anyio.get_cancelled_exc_class():  # which has ended the stream: the next one goes on where it was
                self._stream = AsyncStream(self._link, self._origin, self._listening)
                raise
            if row is None:
                raise StopAsyncIteration
            event = self._listening.told(row)
            if event is not None:
                return event

    def close(self) -> None:
        """Listen no more. Repeatable; does not wait."""
        self._stream.close()
