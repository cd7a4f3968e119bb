"""`maitred workers [ls] | show ID`: those that live, those that died, and all that is known of one."""

from __future__ import annotations

from typing import Annotated

import typer

from maitred.cli import complete
from maitred.cli.certificates import print_certificate
from maitred.cli.listing import Json, OfPool, Rows, Watch, look, new_group, one
from maitred.cli.options import Options, talking_to_broker
from maitred.cli.output import print_json, print_row, print_table
from maitred.client import Client

__all__ = ["app", "print_workers"]

app = new_group("Worker processes, alive and dead.")

Dead = Annotated[bool, typer.Option("--dead", help="Those that died of late, and why.")]
Id = Annotated[
    str, typer.Argument(metavar="ID", help="As the list shows it, or how it begins.", autocompletion=complete.workers)
]

COLUMNS = {
    "ID": "short_id",
    "POOL": "pool",
    "HOST": "host",
    "PID": "pid",
    "STATE": "state",
    "RSS": "rss",
    "GPU MEMORY": "gpu_bytes",
    "REQUESTS": "requests",
    "REQUEST": "request",
    "FOR": "request_age",
    "NOTE": "note",
}
RARE = ("gpu_bytes", "note")
"""Columns that are shown where there is something in them."""

DEAD_COLUMNS = {
    "ID": "short_id",
    "POOL": "pool",
    "HOST": "host",
    "PID": "pid",
    "CAUSE": "cause",
    "SIGNAL": "signal",
    "EXIT CODE": "exit_code",
    "PEAK RSS": "peak_rss",
    "SERVED": "served",
    "LIVED": "age",
    "AGO": "ended",
}


@app.command("ls")
def ls(
    context: typer.Context, json: Json = False, dead: Dead = False, pool: OfPool = None, watch: Watch = None
) -> None:
    """List them, as `maitred workers` alone does: those that are starting included."""
    ask, for_people = (Client.deaths, _print_dead) if dead else (Client.workers, print_workers)
    look(context, json, ask, for_people, pool=pool, watch=watch)


@app.command("show")
def show(context: typer.Context, worker: Id, json: Json = False) -> None:
    """Print all that is known of one; of a dead one, its death certificate."""
    options: Options = context.obj
    with talking_to_broker(options) as client:
        alive, dead = client.workers(), client.deaths()
    row = one({row["worker"]: row for row in dead} | {row["id"]: row for row in alive}, worker.lower(), "workers")
    if json:
        print_json(row)
    elif row in alive:
        print_row(row)
    else:
        print_certificate(row)


def print_workers(rows: Rows) -> None:
    """The table of those that live."""
    rare = {key for key in RARE if not any(row.get(key) for row in rows)}
    shown = [{key: value for key, value in row.items() if key not in rare} for row in rows]
    print_table(COLUMNS, [row | {"short_id": row["id"][:8]} for row in shown], empty="no workers")


def _print_dead(rows: Rows) -> None:
    print_table(DEAD_COLUMNS, [row | {"short_id": row["worker"][:8]} for row in rows], empty="no worker died of late")
