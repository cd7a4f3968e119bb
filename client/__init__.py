"""The client library: `Client` for threads, `AsyncClient` for trio and asyncio, and what they raise (`errors`)."""

from __future__ import annotations

from maitred.client import errors
from maitred.client.asynchronous import AsyncClient
from maitred.client.futures import RequestFuture
from maitred.client.sync import Client

__all__ = ["AsyncClient", "Client", "RequestFuture", "errors"]
