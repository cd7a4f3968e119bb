"""`maitred`: the global options and the list of commands. Each command has a file of its own. And `maitred-broker`.

Exit codes: 0 fine, 1 the operation failed, 2 usage or configuration, 3 no broker reachable.
"""

from __future__ import annotations

import functools
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from maitred.cli import (
    bench,
    call,
    complete,
    configuration,
    dashboard,
    doctor,
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
from maitred.cli.options import Key, Options, duration

__all__ = ["app", "broker_main", "main"]

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
    ),
    *("scale", "recycle", "drain", "pause", "resume", "reload", "config", "keys", "doctor", "bench"),
)
"""Of the commands, as help lists them: what runs, what calls, what looks, what operates. Others follow."""


class _InOrder(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(self.commands, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


_new_app = functools.partial(
    typer.Typer,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app = _new_app(
    name="maitred",
    cls=_InOrder,
    help="Route msgpack requests to named pools of warm Python workers.",
    no_args_is_help=True,
)
broker_app = _new_app(name="maitred-broker")


def _print_version(wanted: bool) -> None:
    if wanted:
        import zmq

        versions = f"pyzmq {zmq.__version__}, libzmq {zmq.zmq_version()}, Python {platform.python_version()}"
        print(f"maitred {metadata.version('maitred')} ({versions})")
        raise typer.Exit


@app.callback()
def _global_options(  # pyright: ignore[reportUnusedFunction]
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("-c", "--config", help="The configuration. Default: ./maitred.toml, if there is one."),
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Override a key: --set pools.general.size=4",
            autocompletion=complete.config_keys,
        ),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option("--endpoint", help="The broker to talk to. Default: $MAITRED_ENDPOINT, or a local one."),
    ] = None,
    key: Key = None,
    connect_timeout: Annotated[
        str,
        typer.Option("--connect-timeout", metavar="TIME", help="How long a broker may take to answer: as 500ms or 5s."),
    ] = "5s",
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], typer.Option("-l", "--log-level", help="Of the log, on stderr.")
    ] = "info",
    log_format: Annotated[
        Literal["text", "json"] | None,
        typer.Option("--log-format", help="Of the log, on stderr. Default: text on a terminal, else json."),
    ] = None,
    _version: Annotated[
        bool | None, typer.Option("--version", help="Print versions and exit.", callback=_print_version, is_eager=True)
    ] = None,
) -> None:
    seconds = duration(connect_timeout, "--connect-timeout")
    style = log_format or ("text" if sys.stderr.isatty() else "json")
    context.obj = Options(config, tuple(override or ()), endpoint, log_level, style, key, seconds)


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


@functools.wraps(_global_options)
def _broker_alone(**options: Any) -> None:
    _global_options(**options)
    serve.broker(options["context"])


broker_app.command(help="Start the broker alone, as `maitred broker` does; workers register from elsewhere.")(
    _broker_alone
)


def main() -> None:
    """Entry point of the console script."""
    serve_in_a_child()
    app()


def broker_main() -> None:
    """Entry point of the console script `maitred-broker`."""
    serve_in_a_child()
    broker_app()
