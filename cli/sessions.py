"""`maitred sessions [ls] | show ID | close ID`: leases on workers, and ending one."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from maitred.cli import complete
from maitred.cli.listing import Json, OfPool, Rows, Watch, look, new_group, one
from maitred.cli.options import Options, talking_to_broker
from maitred.cli.output import print_json, print_row, print_table
from maitred.client import Client

__all__ = ["app"]

app = new_group("Sessions: leases on workers.")

Id = Annotated[
    str, typer.Argument(metavar="ID", help="As `ls` shows it, or how it begins.", autocompletion=complete.sessions)
]

COLUMNS = {
    "ID": "id",
    "POOL": "pool",
    "OWNER": "short_owner",
    "PID": "pid",
    "EPOCH": "epoch",
    "TTL": "ttl",
    "LEFT": "left",
    "QUEUED": "queued",
    "RUNNING": "running",
    "REQUESTS": "requests",
    "AGE": "age",
    "IDLE": "idle",
}


@app.command("ls")
def ls(context: typer.Context, json: Json = False, pool: OfPool = None, watch: Watch = None) -> None:
    """List them, as `maitred sessions` alone does."""
    look(context, json, Client.sessions, _print_sessions, pool=pool, watch=watch)


@app.command("show")
def show(context: typer.Context, session: Id, json: Json = False) -> None:
    """Print all that is known of one, its metadata too."""
    options: Options = context.obj
    with talking_to_broker(options) as client:
        row = _one(client, session)
    (print_json if json else print_row)(row)


@app.command("close")
def close(context: typer.Context, session: Id) -> None:
    """End one, whoever opened it: its worker frees what it holds, its clients are told."""
    options: Options = context.obj
    with talking_to_broker(options) as client:
        print_json(client.close_session(_one(client, session)["id"]))


def _one(client: Client, begins: str) -> dict[str, Any]:
    return one({row["id"]: row for row in client.sessions()}, begins.lower(), "sessions")


def _print_sessions(rows: Rows) -> None:
    shown = [row | {"short_owner": (row.get("owner") or "")[:8] or None} for row in rows]
    print_table(COLUMNS, shown, empty="no sessions")
