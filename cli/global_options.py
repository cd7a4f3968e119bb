"""The options that stand before the verb, as typer reads them: `maitred` and `maitred-broker` have the same."""

from __future__ import annotations

import functools
import platform
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from maitred.cli import complete
from maitred.cli.options import Key, Options, duration
from maitred.protocol.version import VERSION

__all__ = ["global_options", "new_app"]

new_app = functools.partial(
    typer.Typer,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
"""A program of ours: no colours and boxes around help and errors."""


def _print_version(wanted: bool) -> None:
    if wanted:
        import zmq

        versions = f"pyzmq {zmq.__version__}, libzmq {zmq.zmq_version()}, Python {platform.python_version()}"
        print(f"maitred {VERSION} ({versions})")
        raise typer.Exit


def global_options(
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
    """Take what stands before the verb."""
    seconds = duration(connect_timeout, "--connect-timeout")
    style = log_format or ("text" if sys.stderr.isatty() else "json")
    context.obj = Options(config, tuple(override or ()), endpoint, log_level, style, key, seconds)
