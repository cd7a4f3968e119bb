"""`maitred call POOL COMMAND [JSON]`: one call, its result as JSON on standard output."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Generator, Iterable
from typing import Annotated, Any, Literal, cast

import typer

from maitred.cli import complete
from maitred.cli.arguments import read_arguments
from maitred.cli.options import Options, duration, talking_to_broker
from maitred.cli.output import print_json
from maitred.client.progress import Bar

__all__ = ["EXTRA", "Command", "PoolName", "Priority", "Session", "Timeout", "call", "saying_that_it_is_stopped"]

PoolName = Annotated[
    str,
    typer.Argument(
        metavar="POOL", help="The pool; - lets the broker choose, or the session.", autocompletion=complete.pools
    ),
]
Command = Annotated[str, typer.Argument(metavar="COMMAND", help="The command.", autocompletion=complete.commands)]
Arguments = Annotated[
    str | None,
    typer.Argument(
        metavar="[JSON]", help="Arguments, a JSON object; - reads standard input, @FILE a file. Default: none."
    ),
]
EXTRA = {"allow_extra_args": True, "help_option_names": ["-h", "--help"]}
"""Settings of the command: JSON that a shell took apart arrives as several words, and its user is told so."""

Stream = Annotated[
    bool,
    typer.Option("--stream", help="Print parts as they come, a line each; the last is the result. A terminal shows "
                 "progress as a bar."),
]  # fmt: skip
Priority = Annotated[Literal["low", "normal", "high"], typer.Option("--priority", help="Its turn in the pool's queue.")]
Timeout = Annotated[str | None, typer.Option("--timeout", metavar="TIME", help="As 30s or 5min. Default: the pool's.")]

Session = Annotated[
    str | None,
    typer.Option(
        "--session", metavar="ID", help="Run it in this session, on the worker that holds it.",
        autocompletion=complete.sessions,
    ),
]  # fmt: skip


def call(
    context: typer.Context,
    pool: PoolName,
    command: Command,
    args: Arguments = None,
    stream: Stream = False,
    timeout: Timeout = None,
    priority: Priority = "normal",
    session: Session = None,
) -> None:
    """Run one command and print its result as JSON. Ctrl-C has it stopped."""
    options: Options = context.obj
    arguments = read_arguments([] if args is None else [args, *context.args])
    seconds = None if timeout is None else duration(timeout, "--timeout")
    name = None if pool == "-" else pool
    with talking_to_broker(options) as client, saying_that_it_is_stopped("the request"):
        if stream:
            _print_parts(client.stream(name, command, arguments, timeout=seconds, priority=priority, session=session))
        else:
            print_json(client.execute(name, command, arguments, timeout=seconds, priority=priority, session=session))


@contextlib.contextmanager
def saying_that_it_is_stopped(what: str) -> Generator[None]:
    """Where a signal ends the wait: the client has what runs stopped, and the user is told so."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as end:
        number = 2 if isinstance(end, KeyboardInterrupt) else (end.code if isinstance(end.code, int) else 0) - 128
        if number > 0:
            print(
                f"maitred: interrupted: {what} is cancelled, and told to stop where it runs",
                file=sys.stderr,
                flush=True,
            )
        raise


def _print_parts(parts: Iterable[Any]) -> None:
    """A line each. On a terminal, those that say how far it is are a bar instead; the result never is."""
    bar, held, holds = Bar(), None, False
    quiet = sys.stdout.isatty() and sys.stderr.isatty()
    try:
        for part in parts:
            if holds:
                _show(bar, held, quiet)
            held, holds = part, True
    finally:
        bar.clear()
    print_json(held)


def _show(bar: Bar, part: Any, quiet: bool) -> None:
    share = _progress(part)
    if share is None:
        bar.clear()
        print_json(part)
        return
    others = {key: value for key, value in part.items() if key != "progress"}
    bar.show(share, " ".join(f"{key} {_short(value)}" for key, value in others.items()))
    if not quiet:
        print_json(part)


def _progress(part: Any) -> float | None:
    """How far it is, 0 to 1, where a part says so: {"progress": 0.5, …}, as services do by custom."""
    share = cast("dict[str, Any]", part).get("progress") if isinstance(part, dict) else None
    return share if isinstance(share, int | float) and not isinstance(share, bool) and 0 <= share <= 1 else None


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
