"""A worker's way out: what `context.call` and `context.acall` do. The client behind them is made at the first call.

An error of such a call is marked, so that it is never taken for one of the request that made the call.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from maitred.protocol.errors import MaitredError
from maitred.worker.answers import NESTED
from maitred.worker.context import Cancelled
from maitred.worker.running import Run

if TYPE_CHECKING:
    import trio

    from maitred.client import AsyncClient, Client

__all__ = ["AsyncCalls", "Calls"]


class Calls:
    """Calls of plain functions.

    Args:
        endpoint: where clients call.
        key_file: of the key to call with; None: without.
    """

    def __init__(self, endpoint: str, key_file: str | None = None) -> None:
        self._endpoint = endpoint
        self._key_file = key_file
        self._client: Client | None = None
        self._lock = threading.Lock()

    def call(
        self,
        run: Run,
        pool: str | None,
        command: str,
        args: dict[str, Any] | None,
        timeout: float | None,
        trace: str | None,
    ) -> Any:
        """Call and wait; given up when the run is told to stop."""
        future = self._made_client().submit(pool, command, args, timeout=timeout, traceparent=trace)
        before, run.on_change = run.on_change, lambda: run.context.cancelled and future.cancel()
        run.changed()  # it may have been told to stop meanwhile
        try:
            return future.result()
        except BaseException as error:
            if (reason := run.context.cancel_reason) is not None:
                raise Cancelled(reason) from None
            raise (_nested(error, pool, command) if isinstance(error, MaitredError) else error) from None
        finally:
            run.on_change = before

    def _made_client(self) -> Client:
        with self._lock:  # functions of several threads may ask at once
            if self._client is None:
                from maitred.client import Client  # here: most workers call nobody

                self._client = Client(self._endpoint, key=self._key_file)
            return self._client

    def close(self) -> None:
        """Leave in good order."""
        if self._client is not None:
            self._client.close()


class AsyncCalls:
    """Calls of functions under trio.

    Args:
        endpoint: where clients call.
        nursery: the loop's, for the task that holds the client: it belongs to no request.
        key_file: of the key to call with; None: without.
    """

    def __init__(self, endpoint: str, nursery: trio.Nursery, key_file: str | None = None) -> None:
        self._endpoint = endpoint
        self._key_file = key_file
        self._nursery = nursery
        self._client: AsyncClient | None = None

    async def call(
        self,
        pool: str | None,
        command: str,
        args: dict[str, Any] | None,
        timeout: float | None,  # noqa: ASYNC109 - travels with the request
        trace: str | None,
    ) -> Any:
        """Call and wait; given up when the scope of the run is cancelled."""
        client = self._client or await self._nursery.start(self._hold_client)
        try:
            return await client.execute(pool, command, args, timeout=timeout, traceparent=trace)
        except MaitredError as error:
            raise _nested(error, pool, command) from None

    async def _hold_client(self, *, task_status: trio.TaskStatus[AsyncClient]) -> None:
        import trio

        from maitred.client import AsyncClient

        async with AsyncClient(self._endpoint, key=self._key_file) as client:
            if self._client is None:  # two requests may have asked at once; the second one's client serves that call
                self._client = client
            task_status.started(client)
            await trio.sleep_forever()


def _nested(error: MaitredError, pool: str | None, command: str) -> MaitredError:
    """Tell its callers that it speaks of another call than theirs."""
    error.details[NESTED] = f"{pool or '*'}/{command}"
    return error
