"""`maitred config check | show | schema`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from maitred.cli.options import Options, load_config
from maitred.cli.output import Exit, as_json
from maitred.config import as_toml, check_adapters, json_schema, show

__all__ = ["app"]

app = typer.Typer(help="Look at the configuration before anything starts.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("check")
def check(context: typer.Context) -> None:
    """Check it, adapters included: each is imported in a process of its own. Exit code 2 where something is wrong."""
    options: Options = context.obj
    config = load_config(options)
    problems = check_adapters(config)
    for problem in problems:
        print(f"maitred: {problem}", file=sys.stderr)
    if problems:
        raise typer.Exit(Exit.USAGE)
    pools = ", ".join(f"{name} ({pool.size.min})" for name, pool in config.pools.items())
    print(f"{config.source or 'built-in configuration'}: fine; pools: {pools}")


@app.command("show")
def effective(context: typer.Context, json: Json = False) -> None:
    """Print what is in force: file, environment and --set together, defaults filled in."""
    options: Options = context.obj
    config = load_config(options)
    print(as_json(show(config), indent=2) if json else as_toml(config))


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of the file, for editors."""
    print(as_json(json_schema(), indent=2))
