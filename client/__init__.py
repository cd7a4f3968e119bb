"""The client library: `Client` for threads, `AsyncClient` for trio and asyncio, and what they raise (`errors`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from maitred.client import errors
from maitred.client.futures import RequestFuture
from maitred.client.listening import Event
from maitred.client.pressure import Pressure
from maitred.client.sessions import Session
from maitred.client.sync import Client

if TYPE_CHECKING:
    from maitred.client.async_sessions import AsyncSession
    from maitred.client.asynchronous import AsyncClient

__all__ = ["AsyncClient", "AsyncSession", "Client", "Event", "Pressure", "RequestFuture", "Session", "errors"]


def __getattr__(name: str) -> Any:
    """Import what is asynchronous when it is asked for: half of a small script's start would go into anyio and trio."""
    if name == "AsyncClient":
        from maitred.client.asynchronous import AsyncClient

        return AsyncClient
    if name == "AsyncSession":
        from maitred.client.async_sessions import AsyncSession

        return AsyncSession
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
