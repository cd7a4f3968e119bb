"""`maitred sessions [ls] | show ID | close ID`: leases on workers, and ending one."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from maitred.cli.look import Json, Rows, look
from maitred.cli.options import Options, talking_to_broker
from maitred.cli.output import Exit, fail, print_json, print_row, print_table
from maitred.client import Client

__all__ = ["app"]

app = typer.Typer(help="Sessions: leases on workers.", invoke_without_command=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="As `ls` shows it, or how it begins.")]

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


@app.callback()
def _list_by_default(context: typer.Context, json: Json = False) -> None:  # pyright: ignore[reportUnusedFunction]
    if context.invoked_subcommand is None:
        look(context, json, Client.sessions, _print_sessions)


@app.command("ls")
def ls(context: typer.Context, json: Json = False) -> None:
    """List them, as `maitred sessions` alone does."""
    look(context, json, Client.sessions, _print_sessions)


@app.command("show")
def show(context: typer.Context, session: Id, json: Json = False) -> None:
    """Print all that is known of one, its metadata too."""
    options: Options = context.obj
    with talking_to_broker(options) as client:
        row = _one(client.sessions(), session)
    if json:
        print_json(row)
        return
    print_row(row)


@app.command("close")
def close(context: typer.Context, session: Id) -> None:
    """End one, whoever opened it: its worker frees what it holds, its clients are told."""
    options: Options = context.obj
    with talking_to_broker(options) as client:
        print_json(client.close_session(_one(client.sessions(), session)["id"]))


def _one(rows: Rows, begins: str) -> dict[str, Any]:
    found = [row for row in rows if row["id"].startswith(begins)]
    if len(found) != 1:
        text = "no session's id begins with" if not found else f"{len(found)} sessions' ids begin with"
        fail(f"{text} {begins!r}; `maitred sessions ls` shows what is there", Exit.FAILED)
    return found[0]


def _print_sessions(rows: Rows) -> None:
    shown = [row | {"short_owner": (row.get("owner") or "")[:8] or None} for row in rows]
    print_table(COLUMNS, shown, empty="no sessions")
