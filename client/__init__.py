"""The client library: `Client` for threads. See `maitred.client.errors` for what it raises."""

from __future__ import annotations

from maitred.client.sync import Client

__all__ = ["Client"]
