"""`maitred status | pools | workers`: one look at a running broker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from maitred.cli.options import Options, talking_to_broker
from maitred.cli.output import print_json, print_table
from maitred.client import Client

__all__ = ["Json", "Rows", "look", "pools", "status", "workers"]

Rows = list[dict[str, Any]]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

POOL_COLUMNS = {
    "POOL": "name",
    "AVAILABLE": "available",
    "BUSY": "busy",
    "STARTING": "starting",
    "TOTAL": "total",
    "QUEUED": "queued",
    "MAX QUEUE": "max_queue",
    "LEVEL": "level",
    "RETRY AFTER": "retry_after",
    "DONE": "completed",
    "FAILED": "failed",
    "REFUSED": "refused",
    "TIMEOUT": "timeout",
}
WORKER_COLUMNS = {
    "ID": "short_id",
    "POOL": "pool",
    "HOST": "host",
    "PID": "pid",
    "STATE": "state",
    "RSS": "rss",
    "REQUESTS": "requests",
    "REQUEST": "request",
    "FOR": "request_age",
}


def status(context: typer.Context, json: Json = False) -> None:
    """One look: the broker and its pools."""
    options: Options = context.obj
    with talking_to_broker(options) as client:
        broker, rows = client.broker(), client.pools()
    if json:
        print_json({"broker": broker, "pools": rows})
        return
    state = "draining" if broker["draining"] else "serving"
    print(f"{broker['software']}: {state} for {_age(broker['uptime'])}, {_count(broker['requests'], 'request')} under way, "
          f"{_count(broker['clients'], 'client')} connected")  # fmt: skip
    _print_pools(rows)


def pools(context: typer.Context, json: Json = False) -> None:
    """The pools."""
    look(context, json, Client.pools, _print_pools)


def workers(context: typer.Context, json: Json = False) -> None:
    """The workers, those that are starting included."""
    look(context, json, Client.workers, _print_workers)


def look(context: typer.Context, json: bool, ask: Callable[[Client], Rows], for_people: Callable[[Rows], None]) -> None:
    """Print one of the broker's tables, as JSON or for people."""
    options: Options = context.obj
    with talking_to_broker(options) as client:
        rows = ask(client)
    (print_json if json else for_people)(rows)


def _print_workers(rows: Rows) -> None:
    shown = [row | {"short_id": row["id"][:8]} for row in rows]
    print_table(WORKER_COLUMNS, shown, empty="no workers")


def _print_pools(rows: Rows) -> None:
    print_table(POOL_COLUMNS, rows, empty="no pools")
    for row in rows:
        if row.get("degraded"):
            print(f"pool {row['name']!r} is degraded: {row['degraded']}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _age(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
