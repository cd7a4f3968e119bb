"""`maitred-broker`: the broker alone, as `maitred broker` starts it. It imports nothing of the other commands."""

from __future__ import annotations

import functools
from typing import Any

from maitred.cli import serve
from maitred.cli.first_process import serve_in_a_child
from maitred.cli.global_options import global_options, new_app

__all__ = ["app", "main"]

app = new_app(name="maitred-broker")


@functools.wraps(global_options)
def _broker_alone(**options: Any) -> None:
    global_options(**options)
    serve.broker(options["context"])


app.command(help="Start the broker alone, as `maitred broker` does; workers register from elsewhere.")(_broker_alone)


def main() -> None:
    """Entry point of the console script."""
    serve_in_a_child()
    app()
