"""`maitred top`: a live view of a running broker that fills the screen."""

from __future__ import annotations

from typing import Annotated

import typer

from maitred.cli.options import Options, endpoint_of

__all__ = ["top"]

Once = Annotated[
    bool, typer.Option("--once", help="Print one look as plain text. So it is where output is no terminal.")
]


def top(context: typer.Context, once: Once = False) -> None:
    """Watch pools, workers, requests and sessions live, on the whole screen. The keys stand in its last line."""
    from maitred.cli.top_screen import show  # here: `maitred call` should not wait for what it imports

    options: Options = context.obj
    show(options.at(endpoint_of(options)), once=once)
