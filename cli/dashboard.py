"""`maitred dashboard`: where the page is, with what makes its reader an operator."""

from __future__ import annotations

from typing import Annotated

import typer

from maitred.cli.options import Options, load_config, talking_to_broker
from maitred.cli.output import Exit, fail, print_json
from maitred.config.rundir import read_connection

__all__ = ["dashboard"]


def dashboard(
    context: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="Print address and token as JSON.")] = False,
) -> None:
    """Print the link to the page of this host's broker, with the operator's token behind the #.

    A browser keeps what is behind the # to itself and the page takes it out of the address; whoever else has the link can
    pause, drain, recycle and scale.
    """
    options: Options = context.obj
    with talking_to_broker(options) as client:
        endpoint = client.endpoint
    found = read_connection(load_config(options).broker.run_dir if options.config else None)
    if found is None or endpoint not in found.clients:
        fail(
            f"the broker at {endpoint} is not this user's on this host: run this where it runs, as its user",
            Exit.FAILED,
        )
    if not found.http:
        fail('this broker serves no HTTP: set broker.http, as "127.0.0.1:5752", and start it again', Exit.FAILED)
    if json:
        print_json({"address": f"http://{found.http}/", "token": found.secret})
    else:
        print(f"http://{found.http}/#token={found.secret}")
