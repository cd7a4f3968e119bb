"""`maitred pools [ls] | show POOL`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from maitred.cli import complete
from maitred.cli.listing import Json, OfPool, Rows, Watch, look, new_group, one
from maitred.cli.options import Options, talking_to_broker
from maitred.cli.output import print_json, print_row, print_table
from maitred.client import Client

__all__ = ["POOL_COLUMNS", "app", "bounds", "print_pools", "remarks"]

app = new_group("Pools: how many workers they have, what waits, what keeps them from serving.")

Name = Annotated[str, typer.Argument(metavar="POOL", help="Its name, or how it begins.", autocompletion=complete.pools)]

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


@app.command("ls")
def ls(context: typer.Context, json: Json = False, pool: OfPool = None, watch: Watch = None) -> None:
    """List them, as `maitred pools` alone does."""
    look(context, json, Client.pools, print_pools, pool=pool, watch=watch, pool_key="name")


@app.command("show")
def show(context: typer.Context, pool: Name, json: Json = False) -> None:
    """Print all that is known of one: its commands, rates, limits, and what keeps it from serving."""
    options: Options = context.obj
    with talking_to_broker(options) as client:
        row = one({row["name"]: row for row in client.pools()}, pool, "pools")
    (print_json if json else print_row)(row)


def print_pools(rows: Rows) -> None:
    """The table, and below it what is to be said of one pool or another."""
    print_table(POOL_COLUMNS, [row | bounds(row) for row in rows], empty="no pools")
    for row in rows:
        for line in remarks(row):
            print(line)
        for key, words in POOL_LINES.items():
            if row.get(key):
                print(f"pool {row['name']!r}: {words} {row[key]}")


def remarks(row: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a pool, a line each."""
    reason = row.get("reason")
    if reason:
        yield f"pool {row['name']!r} is not ready: {reason}"
    if row.get("degraded") and row["degraded"] not in (reason or ""):
        yield f"pool {row['name']!r} is degraded: {row['degraded']}"


def bounds(row: dict[str, Any]) -> dict[str, str]:
    """How many workers a pool is to have, and between which bounds; nothing where nobody is there who says."""
    if not row.get("agents"):
        return {}
    fixed = row["least"] == row["most"]
    return {"bounds": str(row["size"]) if fixed else f"{row['size']} ({row['least']} to {row['most']})"}
