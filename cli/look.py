"""`maitred status | pools`: one look at a running broker, and what the other lists have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from maitred.cli.options import Options, talking_to_broker
from maitred.cli.output import Exit, fail, print_json, print_table
from maitred.client import Client

__all__ = ["Json", "Rows", "age", "look", "one", "pools", "status"]

Rows = list[dict[str, Any]]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

POOL_COLUMNS = {
    "POOL": "name",
    "AVAILABLE": "available",
    "BUSY": "busy",
    "STARTING": "starting",
    "TOTAL": "total",
    "SIZE": "bounds",
    "QUEUED": "queued",
    "MAX QUEUE": "max_queue",
    "LEVEL": "level",
    "RETRY AFTER": "retry_after",
    "DONE": "completed",
    "FAILED": "failed",
    "REFUSED": "refused",
    "RESTARTS": "restarts",
    "TIMEOUT": "timeout",
}
# What a pool's row may say of its workers' surroundings, each on a line of its own.
POOL_LINES = {"memory": "memory limits by", "gpus": "GPUs:"}


def status(context: typer.Context, json: Json = False) -> None:
    """One look: the broker and its pools."""
    options: Options = context.obj
    with talking_to_broker(options) as client:
        broker, rows = client.broker(), client.pools()
    if json:
        print_json({"broker": broker, "pools": rows})
        return
    state = "draining" if broker["draining"] else "serving"
    print(f"{broker['software']}: {state} for {age(broker['uptime'])}, {_count(broker['requests'], 'request')} under way, "
          f"{_count(broker['clients'], 'client')} connected")  # fmt: skip
    _print_pools(rows)


def pools(context: typer.Context, json: Json = False) -> None:
    """The pools."""
    look(context, json, Client.pools, _print_pools)


def look(context: typer.Context, json: bool, ask: Callable[[Client], Rows], for_people: Callable[[Rows], None]) -> None:
    """Print one of the broker's tables, as JSON or for people."""
    options: Options = context.obj
    with talking_to_broker(options) as client:
        rows = ask(client)
    (print_json if json else for_people)(rows)


def one(rows: Mapping[str, dict[str, Any]], begins: str, what: str) -> dict[str, Any]:
    """The row whose id begins so; where there is none, or several, say so and end.

    `rows` by id; `what` is the command that lists them: "workers".
    """
    found = [row for key, row in rows.items() if key.startswith(begins)]
    if len(found) != 1:
        fail(
            f"{len(found) or 'no'} {what}' ids begin with {begins!r}; `maitred {what}` shows what is there", Exit.FAILED
        )
    return found[0]


def _print_pools(rows: Rows) -> None:
    print_table(POOL_COLUMNS, [row | _bounds(row) for row in rows], empty="no pools")
    for row in rows:
        reason = row.get("reason")
        if reason:
            print(f"pool {row['name']!r} is not ready: {reason}")
        if row.get("degraded") and row["degraded"] not in (reason or ""):
            print(f"pool {row['name']!r} is degraded: {row['degraded']}")
        for key, words in POOL_LINES.items():
            if row.get(key):
                print(f"pool {row['name']!r}: {words} {row[key]}")


def _bounds(row: dict[str, Any]) -> dict[str, str]:
    """How many workers a pool is to have, and between which bounds; nothing where nobody is there who says."""
    if not row.get("agents"):
        return {}
    fixed = row["least"] == row["most"]
    return {"bounds": str(row["size"]) if fixed else f"{row['size']} ({row['least']} to {row['most']})"}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def age(seconds: float) -> str:
    """A time for people: "2 min 5 s"."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
