"""`maitred quarantine [ls] | show FINGERPRINT | release FINGERPRINT`: requests that killed workers."""

from __future__ import annotations

from typing import Annotated

import typer

from maitred.cli.listing import Json, OfPool, Rows, Watch, look, new_group, one
from maitred.cli.options import Options, talking_to_broker
from maitred.cli.output import print_json, print_row, print_table
from maitred.client import Client

__all__ = ["app"]

app = new_group("Requests that killed workers, and are not run again.")

Fingerprint = Annotated[str, typer.Argument(metavar="FINGERPRINT", help="As `ls` shows it, or how it begins.")]
Released = Annotated[str, typer.Argument(metavar="FINGERPRINT", help='As `ls` shows it, or "all".')]

COLUMNS = {
    "FINGERPRINT": "fingerprint",
    "POOL": "pool",
    "COMMAND": "command",
    "DEATHS": "deaths",
    "LAST CAUSE": "last_cause",
    "AGE": "age",
}


@app.command("ls")
def ls(context: typer.Context, json: Json = False, pool: OfPool = None, watch: Watch = None) -> None:
    """List them, as `maitred quarantine` alone does."""
    look(context, json, Client.quarantine, _print_quarantine, pool=pool, watch=watch)


@app.command("show")
def show(context: typer.Context, fingerprint: Fingerprint, json: Json = False) -> None:
    """Print all that is known of one."""
    options: Options = context.obj
    with talking_to_broker(options) as client:
        row = one({row["fingerprint"]: row for row in client.quarantine()}, fingerprint, "quarantine")
    (print_json if json else print_row)(row)


@app.command("release")
def release(context: typer.Context, fingerprint: Released) -> None:
    """Let one be run again, or all of them; its deaths are forgotten."""
    options: Options = context.obj
    with talking_to_broker(options) as client:
        print_json(client.release(fingerprint))


def _print_quarantine(rows: Rows) -> None:
    print_table(COLUMNS, rows, empty="nothing is in quarantine")
