"""A worker's way out: `context.call` and `context.acall` go through a client that is made at the first call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from maitred.protocol.errors import MaitredError
from maitred.worker.answers import NESTED
from maitred.worker.context import Cancelled
from maitred.worker.running import Run

if TYPE_CHECKING:
    from maitred.client import AsyncClient, Client

__all__ = ["Outgoing"]


class Outgoing:
    """Calls for all requests of a worker.

    Args:
        endpoint: where clients call.
    """

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._client: Client | None = None
        self._async_client: AsyncClient | None = None

    def call(self, run: Run, pool: str | None, command: str, args: dict[str, Any] | None, timeout: float | None) -> Any:
        """Call and wait; given up when the run is told to stop."""
        if self._client is None:
            from maitred.client import Client  # here: most workers call nobody

            self._client = Client(self._endpoint)
        future = self._client.submit(pool, command, args, timeout=timeout)
        run.on_change = lambda: run.context.cancelled and future.cancel()
        run.changed()  # it may have been told to stop meanwhile
        try:
            return future.result()
        except BaseException as error:
            if (reason := run.context.cancel_reason) is not None:
                raise Cancelled(reason) from None
            raise (_nested(error, pool, command) if isinstance(error, MaitredError) else error) from None
        finally:
            run.on_change = None

    async def acall(
        self,
        pool: str | None,
        command: str,
        args: dict[str, Any] | None,
        timeout: float | None,  # noqa: ASYNC109
    ) -> Any:
        """Do what `call` does, under trio; its scope is cancelled when the run is told to stop."""
        if self._async_client is None:
            from maitred.client import AsyncClient

            self._async_client = AsyncClient(self._endpoint)
            await self._async_client.__aenter__()
        try:
            return await self._async_client.execute(pool, command, args, timeout=timeout)
        except MaitredError as error:
            raise _nested(error, pool, command) from None

    def close(self) -> None:
        """Leave in good order."""
        if self._client is not None:
            self._client.close()


def _nested(error: MaitredError, pool: str | None, command: str) -> MaitredError:
    """Tell its callers that it speaks of another call than theirs."""
    error.details[NESTED] = f"{pool or '*'}/{command}"
    return error
