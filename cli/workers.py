"""`maitred workers [ls] | show ID`: those that live, those that died, and all that is known of one."""

from __future__ import annotations

from typing import Annotated

import typer

from maitred.cli.certificates import print_certificate
from maitred.cli.look import Json, Rows, look, one
from maitred.cli.options import Options, talking_to_broker
from maitred.cli.output import print_json, print_row, print_table
from maitred.client import Client

__all__ = ["app"]

app = typer.Typer(help="Worker processes, alive and dead.", invoke_without_command=True)

Dead = Annotated[bool, typer.Option("--dead", help="Those that died of late, and why.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="As the list shows it, or how it begins.")]

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


@app.callback()
def _list_by_default(  # pyright: ignore[reportUnusedFunction]
    context: typer.Context, json: Json = False, dead: Dead = False
) -> None:
    if context.invoked_subcommand is None:
        ls(context, json, dead)


@app.command("ls")
def ls(context: typer.Context, json: Json = False, dead: Dead = False) -> None:
    """List them, as `maitred workers` alone does: those that are starting included."""
    if dead:
        look(context, json, Client.deaths, _print_dead)
    else:
        look(context, json, Client.workers, _print_alive)


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


def _print_alive(rows: Rows) -> None:
    rare = {key for key in RARE if not any(row.get(key) for row in rows)}
    shown = [{key: value for key, value in row.items() if key not in rare} for row in rows]
    print_table(COLUMNS, [row | {"short_id": row["id"][:8]} for row in shown], empty="no workers")


def _print_dead(rows: Rows) -> None:
    print_table(DEAD_COLUMNS, [row | {"short_id": row["worker"][:8]} for row in rows], empty="no worker died of late")
