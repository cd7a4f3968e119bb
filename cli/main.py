"""`maitred`: the global options and the list of commands. Each command has a file of its own.

Exit codes: 0 fine, 1 the operation failed, 2 usage or configuration, 3 no broker reachable.
"""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

from maitred.cli import (
    bench,
    call,
    configuration,
    dashboard,
    doctor,
    events,
    keys,
    look,
    mapping,
    operate,
    pools,
    quarantine,
    requests,
    serve,
    sessions,
    top,
    workers,
)
from maitred.cli.first_process import serve_in_a_child
from maitred.cli.global_options import global_options, new_app

__all__ = ["app", "main"]

ORDER = (
    *(
        "up",
        "broker",
        "pool",
        "call",
        "map",
        "status",
        "top",
        "dashboard",
        "pools",
        "workers",
        "requests",
        "sessions",
        "quarantine",
        "events",
    ),
    *("scale", "recycle", "drain", "pause", "resume", "reload", "config", "keys", "doctor", "bench"),
)
"""Of the commands, as help lists them: what runs, what calls, what looks, what operates. Others follow."""


class _InOrder(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(self.commands, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


app = new_app(
    name="maitred",
    cls=_InOrder,
    help="Route msgpack requests to named pools of warm Python workers.",
    no_args_is_help=True,
)


app.callback()(global_options)
app.command()(serve.up)
app.command()(serve.broker)
app.command()(serve.pool)
app.command(context_settings=call.EXTRA)(call.call)
app.command("map")(mapping.map_lines)
app.command()(look.status)
app.command()(top.top)
app.command()(dashboard.dashboard)
app.add_typer(pools.app, name="pools")
app.add_typer(workers.app, name="workers")
app.add_typer(requests.app, name="requests")
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(sessions.app, name="sessions")
app.command()(events.events)
app.command()(operate.scale)
app.command()(operate.recycle)
app.command()(operate.drain)
app.command()(operate.pause)
app.command()(operate.resume)
app.command()(operate.reload)
app.add_typer(configuration.app, name="config")
app.add_typer(keys.app, name="keys")
app.command()(doctor.doctor)
app.command(context_settings=bench.SETTINGS)(bench.bench)


def main() -> None:
    """Entry point of the console script."""
    serve_in_a_child()
    app()
