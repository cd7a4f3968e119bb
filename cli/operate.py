"""`maitred scale | recycle | drain | pause | resume`: what an operator does to pools and workers that run.

The broker does it, and goes on doing so whatever becomes of the command; `--wait` looks until it is done.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from maitred.cli import progress
from maitred.cli.options import Options, talking_to_broker
from maitred.cli.output import Exit, fail, print_json
from maitred.cli.progress import Goal
from maitred.client import Client
from maitred.config import format_duration, parse_duration

__all__ = ["drain", "pause", "recycle", "resume", "scale"]

POLL_S = 0.1
"""How often the tables are asked for: often enough for a person, and nothing to a broker."""

FEWEST_DIGITS = 4
"""Of a worker's id: fewer could as well be a slip."""

Pool = Annotated[str, typer.Argument(metavar="POOL")]
Target = Annotated[
    str,
    typer.Argument(metavar="POOL|WORKER", help="A pool's name, or the first digits of a worker's id, four or more."),
]
Drained = Annotated[str | None, typer.Argument(metavar="[POOL|WORKER]", help="As for recycle. Default: all pools.")]
Size = Annotated[int, typer.Argument(metavar="N", min=0, help="Within the bounds of the pool's size.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Return once it is done, or once it has begun.")]
WaitNot = Annotated[bool, typer.Option("--wait/--no-wait", help="Return once it is done, or at once.")]
Timeout = Annotated[str, typer.Option("--timeout", metavar="TIME", help="How long to wait: as 30s or 5min.")]


def scale(context: typer.Context, pool: Pool, workers: Size, wait: Wait = True, timeout: Timeout = "5min") -> None:
    """Have a pool keep N workers. Those that are too many finish what they run first."""
    with _operating(context, timeout) as it:
        it.tell("scale", f"{pool}={workers}")
        if wait:
            it.wait(progress.scaled(pool, workers))


def recycle(context: typer.Context, target: Target, wait: Wait = True, timeout: Timeout = "5min") -> None:
    """Replace a worker, or all of a pool: each once another one is ready in its place, so that no request fails."""
    with _operating(context, timeout) as it:
        pool, workers = it.find(target)
        size = it.ready(pool)
        it.tell("recycle", target)
        if wait:
            it.wait(progress.recycled(pool, workers, size))


def drain(context: typer.Context, target: Drained = None, wait: Wait = True, timeout: Timeout = "5min") -> None:
    """Give a worker, or a pool, nothing new, and let it finish what it has. `maitred resume POOL` opens a pool again."""
    with _operating(context, timeout) as it:
        if target is not None and not it.is_pool(target):
            _, workers = it.find(target)
            it.tell("drain", target)
            goal = progress.gone(workers)
        else:
            names = it.names() if target is None else [target]
            for name in names:
                it.tell("drain", name)
            goal = progress.quiet(names, queue=True)
        if wait:
            it.wait(goal)


def pause(context: typer.Context, pool: Pool, wait: WaitNot = False, timeout: Timeout = "5min") -> None:
    """Have a pool begin nothing more: requests wait in its queue until `maitred resume`. What runs is finished."""
    with _operating(context, timeout) as it:
        it.tell("pause", pool)
        if wait:
            it.wait(progress.quiet([pool], queue=False))


def resume(context: typer.Context, pool: Pool, wait: WaitNot = False, timeout: Timeout = "5min") -> None:
    """Have a pool go on that was paused, drained or degraded."""
    with _operating(context, timeout) as it:
        it.tell("resume", pool)
        if wait:
            it.wait(progress.resumed(pool))


class _Operation:
    """One command's talk with the broker."""

    def __init__(self, client: Client, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s

    def names(self) -> list[str]:
        """The pools'."""
        return [row["name"] for row in self._client.pools()]

    def is_pool(self, target: str) -> bool:
        return target in self.names()

    def ready(self, pool: str) -> int:
        """How many workers it has that take requests."""
        return len(progress.ready(row for row in self._client.workers() if row["pool"] == pool))

    def find(self, target: str) -> tuple[str, frozenset[str]]:
        """The pool that is meant, and the ids of the workers."""
        rows, names = self._client.workers(), self.names()
        if target in names:
            return target, frozenset(row["id"] for row in rows if row["pool"] == target and row["state"] != "starting")
        if len(target) < FEWEST_DIGITS:
            fail(f"no pool {target!r}, and too short for a worker's id; there are: {', '.join(names)}", Exit.FAILED)
        found = [row for row in rows if row["id"].startswith(target.lower())]
        if len(found) != 1:
            text = "no pool, and no worker's id begins with" if not found else f"{len(found)} workers' ids begin with"
            fail(f"{text} {target!r}; pools: {', '.join(names)}; `maitred workers` shows who is there", Exit.FAILED)
        return found[0]["pool"], frozenset([found[0]["id"]])

    def tell(self, verb: str, target: str) -> None:
        """Have it begun."""
        print_json(self._client.operate(verb, target))

    def wait(self, goal: Goal) -> None:
        """Look until it is done; a line on a terminal says how far it is."""
        until = time.monotonic() + self._timeout_s
        with Console(stderr=True).status("") as line:  # prints nothing where that is no terminal
            while not (stand := goal(self._client.pools(), self._client.workers())).done:
                if stand.hopeless:
                    fail(f"{stand.text}; {stand.hopeless}", Exit.FAILED)
                if time.monotonic() > until:
                    _give_up(stand.text, self._timeout_s)
                line.update(stand.text)
                time.sleep(POLL_S)


@contextmanager
def _operating(context: typer.Context, timeout: str) -> Generator[_Operation]:
    options: Options = context.obj
    try:
        timeout_s = parse_duration(timeout)
    except ValueError as error:
        fail(f"--timeout: {error}", Exit.USAGE)
    with talking_to_broker(options) as client:
        yield _Operation(client, timeout_s)


def _give_up(stand: str, timeout_s: float) -> NoReturn:
    fail(
        f"after {format_duration(timeout_s)} {stand}; it goes on without this command: `maitred status` and "
        "`maitred workers` show how far it is",
        Exit.FAILED,
    )
