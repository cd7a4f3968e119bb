"""`maitred requests [ls] | cancel ID`: what is unanswered, and having one of it stopped."""

from __future__ import annotations

from typing import Annotated

import typer

from maitred.cli.look import Json, Rows, look
from maitred.cli.options import Options, talking_to_broker
from maitred.cli.output import print_json, print_table
from maitred.client import Client

__all__ = ["app"]

app = typer.Typer(help="The requests that are unanswered.", invoke_without_command=True)

COLUMNS = {
    "ID": "id",
    "POOL": "pool",
    "COMMAND": "command",
    "STATE": "state",
    "AGE": "age",
    "PRIORITY": "priority",
    "ATTEMPT": "attempt",
    "CLIENT": "client",
    "WORKER": "worker",
}


@app.callback()
def _list_by_default(context: typer.Context, json: Json = False) -> None:  # pyright: ignore[reportUnusedFunction]
    if context.invoked_subcommand is None:
        look(context, json, Client.requests, _print_requests)


@app.command("ls")
def ls(context: typer.Context, json: Json = False) -> None:
    """List them, as `maitred requests` alone does."""
    look(context, json, Client.requests, _print_requests)


@app.command("cancel")
def cancel(
    context: typer.Context, request: Annotated[str, typer.Argument(metavar="ID", help="As `ls` shows it.")]
) -> None:
    """Have one stopped, whoever asked for it: a queued one is removed, a running one told to stop."""
    options: Options = context.obj
    with talking_to_broker(options) as client:
        print_json(client.cancel_request(request))


def _print_requests(rows: Rows) -> None:
    shown = [row | {"worker": (row.get("worker") or "")[:8] or None} for row in rows]
    print_table(COLUMNS, shown, empty="no requests")
