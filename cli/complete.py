"""What a shell completes with: names and ids that the running broker knows, if it says them quickly; else nothing.

Whoever presses the tab key waits for this. So it takes no longer than a moment, prints nothing, and never fails.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable

import typer

from maitred.client import Client
from maitred.protocol.events import EVENTS

__all__ = ["commands", "config_keys", "event_names", "pools", "requests", "sessions", "targets", "workers"]

PATIENCE_S = 0.3
"""For all of it: longer, and the shell seems to hang."""

Ask = Callable[[Client], Iterable[str]]


def pools(context: typer.Context, incomplete: str) -> list[str]:
    """Names of pools."""
    return _known(context, incomplete, _pools)


def workers(context: typer.Context, incomplete: str) -> list[str]:
    """Ids of workers that live."""
    return _known(context, incomplete, lambda client: (row["id"] for row in client.workers()))


def targets(context: typer.Context, incomplete: str) -> list[str]:
    """Names of pools and ids of workers."""
    return _known(context, incomplete, lambda client: [*_pools(client), *(row["id"] for row in client.workers())])


def sessions(context: typer.Context, incomplete: str) -> list[str]:
    """Ids of sessions."""
    return _known(context, incomplete, lambda client: (row["id"] for row in client.sessions()))


def requests(context: typer.Context, incomplete: str) -> list[str]:
    """Ids of requests."""
    return _known(context, incomplete, lambda client: (row["id"] for row in client.requests()))


def event_names(incomplete: str) -> list[str]:
    """Names of events."""
    return [name for name in EVENTS if name.startswith(incomplete)]


def commands(context: typer.Context, incomplete: str) -> list[str]:
    """Commands of the pool that was typed before; of all where none was."""
    chosen = context.params.get("pool")

    def ask(client: Client) -> Iterable[str]:
        for row in client.pools():
            if chosen in (None, "-", row["name"]):
                yield from row["commands"]

    return _known(context, incomplete, ask)


def config_keys(context: typer.Context, incomplete: str) -> list[str]:
    """Keys of the configuration: of the broker, and of each pool that it knows."""
    from maitred.config import BrokerConfig, PoolConfig
    from maitred.config.schema import keys_of

    found = [f"broker.{key.name}=" for key in keys_of(BrokerConfig).values()]
    names = _known(context, "", _pools) or ["general", "optimizer", "neural"]
    found += [f"pools.{name}.{key.name}=" for name in names for key in keys_of(PoolConfig).values()]
    return [each for each in found if each.startswith(incomplete)]


def _pools(client: Client) -> Iterable[str]:
    return (row["name"] for row in client.pools())


def _known(context: typer.Context, incomplete: str, ask: Ask) -> list[str]:
    """What the broker answers in time, of that what begins so."""
    found: list[str] = []
    said = context.find_root().params

    def look() -> None:
        with (
            contextlib.suppress(Exception),
            Client(said.get("endpoint"), key=said.get("key"), connect_timeout=PATIENCE_S) as client,
        ):
            found.extend(dict.fromkeys(ask(client)))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    return [each for each in list(found) if each.startswith(incomplete)]
