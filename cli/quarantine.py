"""`maitred quarantine [ls] | show FINGERPRINT | release FINGERPRINT`: requests that killed workers."""

from __future__ import annotations

from typing import Annotated

import typer

from maitred.cli.look import Json, Rows, look
from maitred.cli.options import Options, talking_to_broker
from maitred.cli.output import Exit, fail, print_json, print_row, print_table
from maitred.client import Client

__all__ = ["app"]

app = typer.Typer(help="Requests that killed workers, and are not run again.", invoke_without_command=True)

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


@app.callback()
def _list_by_default(context: typer.Context, json: Json = False) -> None:  # pyright: ignore[reportUnusedFunction]
    if context.invoked_subcommand is None:
        look(context, json, Client.quarantine, _print_quarantine)


@app.command("ls")
def ls(context: typer.Context, json: Json = False) -> None:
    """List them, as `maitred quarantine` alone does."""
    look(context, json, Client.quarantine, _print_quarantine)


@app.command("show")
def show(context: typer.Context, fingerprint: Fingerprint, json: Json = False) -> None:
    """Print all that is known of one."""
    options: Options = context.obj
    with talking_to_broker(options) as client:
        rows = client.quarantine()
    found = [row for row in rows if row["fingerprint"].startswith(fingerprint)]
    if len(found) != 1:
        text = "nothing in quarantine begins with" if not found else f"{len(found)} fingerprints begin with"
        fail(f"{text} {fingerprint!r}; `maitred quarantine ls` shows what is there", Exit.FAILED)
    if json:
        print_json(found[0])
        return
    print_row(found[0])


@app.command("release")
def release(context: typer.Context, fingerprint: Released) -> None:
    """Let one be run again, or all of them; its deaths are forgotten."""
    options: Options = context.obj
    with talking_to_broker(options) as client:
        print_json(client.release(fingerprint))


def _print_quarantine(rows: Rows) -> None:
    print_table(COLUMNS, rows, empty="nothing is in quarantine")
