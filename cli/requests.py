"""`maitred requests [ls] | show ID | cancel ID`: what is unanswered, and having one of it stopped."""

from __future__ import annotations

from typing import Annotated

import typer

from maitred.cli import complete
from maitred.cli.listing import Json, OfPool, Rows, Watch, look, new_group, one
from maitred.cli.options import Options, talking_to_broker
from maitred.cli.output import print_json, print_row, print_table
from maitred.client import Client

__all__ = ["app"]

app = new_group("The requests that are unanswered.")

Id = Annotated[
    str, typer.Argument(metavar="ID", help="As `ls` shows it, or how it begins.", autocompletion=complete.requests)
]

COLUMNS = {
    "ID": "id",
    "POOL": "pool",
    "COMMAND": "command",
    "STATE": "state",
    "AGE": "age",
    "PRIORITY": "priority",
    "ATTEMPT": "attempt",
    "LEFT": "left",
    "CLIENT": "client",
    "WORKER": "worker",
}


@app.command("ls")
def ls(context: typer.Context, json: Json = False, pool: OfPool = None, watch: Watch = None) -> None:
    """List them, as `maitred requests` alone does: the oldest first."""
    look(context, json, Client.requests, _print_requests, pool=pool, watch=watch)


@app.command("show")
def show(context: typer.Context, request: Id, json: Json = False) -> None:
    """Print all that is known of one."""
    options: Options = context.obj
    with talking_to_broker(options) as client:
        row = one({row["id"]: row for row in client.requests()}, request, "requests")
    (print_json if json else print_row)(row)


@app.command("cancel")
def cancel(context: typer.Context, request: Id) -> None:
    """Have one stopped, whoever asked for it: a queued one is removed, a running one told to stop."""
    options: Options = context.obj
    with talking_to_broker(options) as client:
        print_json(client.cancel_request(request))


def _print_requests(rows: Rows) -> None:
    shown = [row | {"worker": (row.get("worker") or "")[:8] or None} for row in rows]
    print_table(COLUMNS, shown, empty="no requests")
