"""`maitred map POOL COMMAND < lines.jsonl`: one call for each line, the results in the lines' order."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, BinaryIO

import typer

from maitred.cli.arguments import parse_object
from maitred.cli.call import Command, PoolName, Priority, Session, Timeout, saying_that_it_is_stopped
from maitred.cli.lines import count_lines, is_regular, lines_of
from maitred.cli.options import Options, duration, talking_to_broker
from maitred.cli.output import Exit, as_json, counted, fail
from maitred.client.errors import MaitredError
from maitred.client.mapping import DEFAULT_MAP_WINDOW, NOT_YET
from maitred.client.progress import shown

__all__ = ["map_lines"]

SHOWN_FAILURES = 10
"""Said on standard error, the first ones; all stand in the output, at their lines' places."""

File = Annotated[
    str,
    typer.Argument(metavar="[FILE]", help="A JSON object a line: the arguments of a call. Default: standard input."),
]
Concurrency = Annotated[
    int,
    typer.Option("--concurrency", metavar="N", min=1, help="Calls at a time, at most; fewer where the pool is full."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.")]


def map_lines(
    context: typer.Context,
    pool: PoolName,
    command: Command,
    file: File = "-",
    concurrency: Concurrency = DEFAULT_MAP_WINDOW,
    timeout: Timeout = None,
    priority: Priority = "normal",
    session: Session = None,
    quiet: Quiet = False,
) -> None:
    """Run a command for each line of JSON and print the results, a line each, in the same order.

    The line of a call that failed is {"error": …}; the others go on, and the exit code is 1. Ctrl-C has all stopped.
    """
    options: Options = context.obj
    seconds = None if timeout is None else duration(timeout, "--timeout")
    lines = _open(file)
    total = count_lines(lines) if is_regular(lines) else None
    at_once = total is None or sys.stdout.isatty()
    failures = _Failures()
    with lines, talking_to_broker(options) as client, saying_that_it_is_stopped("what is under way"):
        results = client.map(
            None if pool == "-" else pool,
            command,
            _arguments(lines_of(lines)),
            timeout=seconds,
            priority=priority,
            session=session,
            window=concurrency,
            return_exceptions=True,
        )
        for result in results if quiet else shown(results, total):
            failed = isinstance(result, Exception)
            print(as_json(failures.note(result) if failed else result), flush=at_once)
            failures.lines += 1
    failures.end()


class _Failures:
    """What went wrong, line by line."""

    def __init__(self) -> None:
        self.lines = 0
        self._first: list[str] = []
        self._count = 0

    def note(self, error: Exception) -> dict[str, Any]:
        """Remember it; returns what stands in the output instead of a result."""
        self._count += 1
        text = error.message if isinstance(error, MaitredError) else str(error)
        if len(self._first) < SHOWN_FAILURES:
            self._first.append(f"line {self.lines + 1}: {type(error).__name__}: {text.splitlines()[0] if text else ''}")
        return {"error": {"type": type(error).__name__, "message": text}}

    def end(self) -> None:
        """End the command with 1 where there were any."""
        if not self._count:
            return
        more = [f"and {self._count - len(self._first)} more"] if self._count > len(self._first) else []
        fail("\n  ".join([f"{self._count} of {counted(self.lines, 'line')} failed", *self._first, *more]), Exit.FAILED)


class _NoObject(Mapping[str, Any]):
    """A line that is no JSON object: using it says why, as a call that failed."""

    def __init__(self, why: str) -> None:
        self._why = why

    def __getitem__(self, key: str) -> Any:
        raise ValueError(self._why)

    def __iter__(self) -> Iterator[str]:
        raise ValueError(self._why)

    def __len__(self) -> int:
        raise ValueError(self._why)


def _arguments(lines: Iterable[bytes | None]) -> Iterator[Mapping[str, Any]]:
    for line in lines:
        try:
            yield NOT_YET if line is None else parse_object(line.decode())
        except ValueError as error:
            yield _NoObject(f"no JSON object: {error}")


def _open(file: str) -> BinaryIO:
    try:
        lines = sys.stdin.buffer if file == "-" else open(file, "rb")  # noqa: SIM115 - closed by who reads them
    except OSError as error:
        fail(f"{file!r} cannot be read: {error.strerror}", Exit.USAGE)
    if file == "-" and lines.isatty():
        print("maitred: reads a JSON object a line from this terminal; Ctrl-D ends them", file=sys.stderr, flush=True)
    return lines
