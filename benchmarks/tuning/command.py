"""`maitred bench tune`: its options, and what they name."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import typer
from rich.console import Console

from maitred.benchmarks import results
from maitred.benchmarks.report import page
from maitred.benchmarks.report.progress import progress
from maitred.benchmarks.subjects.protocol import Transport
from maitred.benchmarks.tuning import knobs, show, target
from maitred.benchmarks.tuning.advice import recommended
from maitred.benchmarks.tuning.knobs import Knob, UnknownKnob
from maitred.benchmarks.tuning.sweep import LONG, QUICK, Found, Parameters, TooLong, sweep
from maitred.benchmarks.tuning.target import Target, TargetError
from maitred.benchmarks.tuning.trial import TryError
from maitred.cli.options import Options, load_config
from maitred.config import import_path
from maitred.launcher.processes import StartError

__all__ = ["tune"]

FAILED, USAGE = 1, 2
"""Exit codes, as those of every command."""


def tune(
    context: typer.Context,
    adapter: Annotated[
        str | None, typer.Option(metavar="MODULE:SERVICE", help="What to tune for. Default: the suite's own echo.")
    ] = None,
    pool: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Instead of --adapter: a pool of the configuration (maitred -c FILE bench tune)."
        ),
    ] = None,
    command: Annotated[
        str | None, typer.Option(help="The load: a command that may be called some ten thousand times.")
    ] = None,
    arguments: Annotated[str | None, typer.Option(metavar="JSON", help="Its arguments, as an object.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Of the pool. Default: 2, or its own size.")] = None,
    transport: Annotated[Transport, typer.Option(help="How callers are connected now.")] = "tcp",
    outstanding: Annotated[
        int, typer.Option(min=2, metavar="N", help="Calls under way while throughput is measured.")
    ] = 32,
    only: Annotated[str, typer.Option(metavar="A,B", help="Only these settings.")] = "",
    quick: Annotated[bool, typer.Option("--quick", help="One candidate for each setting, few rounds.")] = False,
    long: Annotated[bool, typer.Option("--long", help="Many more rounds, however long it takes.")] = False,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write what was found; - is standard output.")
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page with plots.")] = None,
) -> None:
    """Which settings are worth changing here, for this adapter? Each is tried, in turns with what is in force."""
    try:
        wanted = knobs.chosen(only)
        aim = _target(context, adapter, pool, command, _arguments(arguments), transport, workers)
    except (UnknownKnob, TargetError) as error:
        _fail(str(error), USAGE)
    parameters = Parameters(transport=transport, outstanding=outstanding, **(LONG if long else QUICK if quick else {}))
    found = _sweep(aim, wanted, parameters)
    to_stdout = json is not None and str(json) == "-"
    show.print_found(Console(stderr=to_stdout, width=None if sys.stdout.isatty() else 160), found, aim)
    result = msgspec.structs.replace(found.result, recommended=recommended(found.accepted, aim.pool))
    if to_stdout:
        sys.stdout.buffer.write(results.encode([result]))
    elif json is not None:
        results.write([result], json)
    if html is not None:
        html.write_text(page.render([result]), encoding="utf-8")


def _sweep(aim: Target, wanted: Sequence[Knob], parameters: Parameters) -> Found:
    try:
        with progress("tune") as say:
            return sweep(aim, wanted, parameters, say)
    except TooLong as error:
        _fail(str(error), USAGE)
    except TryError as error:
        _fail(str(error), FAILED)
    except (StartError, RuntimeError) as error:
        _fail(f"{aim.adapter} does not start; what its processes say is above ({error})", FAILED)


def _target(
    context: typer.Context,
    adapter: str | None,
    pool: str | None,
    command: str | None,
    arguments: dict[str, Any] | None,
    transport: Transport,
    workers: int | None,
) -> Target:
    if pool is not None and adapter is not None:
        raise TargetError("--pool and --adapter exclude each other: a pool has its adapter in the configuration")
    if pool is not None:
        options = context.find_object(Options) or Options(None, (), None, "error", "text")
        config = load_config(options)
        sys.path[:0] = import_path(config)  # from there its workers import the adapter
        return target.target_of_pool(config, pool, command, arguments, transport, workers)
    if adapter is not None:
        return target.target_of_adapter(adapter, command, arguments, transport, workers)
    if command is not None:
        raise TargetError("--command is one of an adapter's: name it by --adapter, or a pool by --pool")
    return target.default_target(transport, workers, arguments)


def _arguments(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise TargetError(f"--arguments takes a JSON object, as '{{\"x\": 1}}': {error}") from None


def _fail(text: str, code: int) -> NoReturn:
    print(f"maitred bench tune: {text}", file=sys.stderr)
    raise typer.Exit(code)
