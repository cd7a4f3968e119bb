"""`maitred call POOL COMMAND [JSON]`: one call, its result as JSON on standard output."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any, Literal, cast

import typer

from maitred.cli.options import Options, talking_to_broker
from maitred.cli.output import Exit, fail, print_json
from maitred.config import parse_duration

__all__ = ["call"]


Json = Annotated[str, typer.Argument(metavar="[JSON]", help="Arguments, a JSON object; - reads standard input.")]
Stream = Annotated[
    bool, typer.Option("--stream", help="Print parts as they come, a line each; the last is the result.")
]
Priority = Annotated[Literal["low", "normal", "high"], typer.Option("--priority", help="Its turn in the pool's queue.")]
Timeout = Annotated[str | None, typer.Option("--timeout", metavar="TIME", help="As 30s or 5min. Default: the pool's.")]

Session = Annotated[
    str | None, typer.Option("--session", metavar="ID", help="Run it in this session, on the worker that holds it.")
]


def call(
    context: typer.Context,
    pool: Annotated[str, typer.Argument(help="The pool; - lets the broker choose, or the session.")],
    command: Annotated[str, typer.Argument(help="The command.")],
    args: Json = "{}",
    stream: Stream = False,
    timeout: Timeout = None,
    priority: Priority = "normal",
    session: Session = None,
) -> None:
    """Run one command and print its result as JSON."""
    options: Options = context.obj
    arguments = _arguments(sys.stdin.read() if args == "-" else args)
    seconds = _seconds(timeout)
    name = None if pool == "-" else pool
    with talking_to_broker(options) as client:
        if stream:
            for part in client.stream(name, command, arguments, timeout=seconds, priority=priority, session=session):
                print_json(part)
        else:
            print_json(client.execute(name, command, arguments, timeout=seconds, priority=priority, session=session))


def _arguments(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        fail(f"the arguments are no JSON: {error.msg} at column {error.colno}: {text[:80]!r}", Exit.USAGE)
    if not isinstance(found, dict):
        fail(f'the arguments are a JSON object, as in {{"message": "hello"}}, not {text[:80]!r}', Exit.USAGE)
    return cast("dict[str, Any]", found)


def _seconds(timeout: str | None) -> float | None:
    try:
        return None if timeout is None else parse_duration(timeout)
    except ValueError as error:
        fail(f"--timeout: {error}", Exit.USAGE)
