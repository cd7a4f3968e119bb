"""`maitred scale | recycle | drain | pause | resume | reload`: what an operator does to a broker that runs.

The broker does it, and goes on doing so whatever becomes of the command; `--wait` looks until it is done.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from maitred.cli import complete, progress
from maitred.cli.options import Options, duration, talking_to_broker
from maitred.cli.output import Exit, fail, print_json
from maitred.cli.progress import Goal
from maitred.client import Client
from maitred.config import format_duration

__all__ = ["drain", "pause", "recycle", "reload", "resume", "scale"]

POLL_S = 0.1
"""How often the tables are asked for: often enough for a person, and nothing to a broker."""

Pool = Annotated[str, typer.Argument(metavar="POOL", help="Its name.", autocompletion=complete.pools)]
Target = Annotated[
    str,
    typer.Argument(
        metavar="POOL|WORKER",
        help="A pool's name, or the first digits of a worker's id, four or more.",
        autocompletion=complete.targets,
    ),
]
Drained = Annotated[
    str,
    typer.Argument(
        metavar="[POOL|WORKER]", help="As for recycle. Default: all pools.", autocompletion=complete.targets
    ),
]
Resumed = Annotated[str, typer.Argument(metavar="[POOL]", help="Default: all pools.", autocompletion=complete.pools)]
Size = Annotated[int, typer.Argument(metavar="N", min=0, help="Within the bounds of the pool's size.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Return once it is done, or once it has begun.")]
Json = Annotated[bool, typer.Option("--json", help="Print what was changed as JSON.")]
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
        before = it.workers()
        chosen = it.tell("recycle", target)["workers"]
        pools = {row["pool"] for row in before if row["id"] in chosen}
        size = len(progress.ready(row for row in before if row["pool"] in pools and row.get("agent")))
        if wait:
            it.wait(progress.recycled(pools, chosen, size))


def drain(context: typer.Context, target: Drained = "", wait: Wait = True, timeout: Timeout = "5min") -> None:
    """Give a worker, or a pool, nothing new, and let it finish what it has. `maitred resume` opens a pool again."""
    with _operating(context, timeout) as it:
        done = it.tell("drain", target)
        if wait:
            it.wait(progress.gone(done["worker"]) if "worker" in done else progress.quiet(done["pools"], queue=True))


def pause(context: typer.Context, pool: Pool, wait: WaitNot = False, timeout: Timeout = "5min") -> None:
    """Have a pool begin nothing more: requests wait in its queue until `maitred resume`. What runs is finished."""
    with _operating(context, timeout) as it:
        it.tell("pause", pool)
        if wait:
            it.wait(progress.quiet([pool], queue=False))


def resume(context: typer.Context, pool: Resumed = "", wait: WaitNot = False, timeout: Timeout = "5min") -> None:
    """Have a pool go on that was paused, drained or degraded."""
    with _operating(context, timeout) as it:
        done = it.tell("resume", pool)
        if wait:
            it.wait(progress.serving(done["pools"]))


def reload(context: typer.Context, as_json: Json = False) -> None:
    """Have the broker read again whose keys may do what. Other settings need a restart."""
    options: Options = context.obj
    with talking_to_broker(options) as client:
        done = client.operate("reload", "")
    if as_json:
        print_json(done)
        return
    print(f"{done['keys']} {'key is' if done['keys'] == 1 else 'keys are'} authorised")
    for what in ("added", "removed", "changed"):
        if done[what]:
            print(f"{what}: {', '.join(done[what])}")
    print("the other settings stay as they are: a change of these needs a restart")


class _Operation:
    """One command's talk with the broker."""

    def __init__(self, client: Client, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self.workers = client.workers

    def tell(self, verb: str, target: str) -> dict[str, Any]:
        """Have it begun; prints, and returns, what the broker says that it does."""
        done = self._client.operate(verb, target)
        print_json(done)
        return done

    def wait(self, goal: Goal) -> None:
        """Look until it is done; a line on a terminal says how far it is."""
        until = time.monotonic() + self._timeout_s
        with Console(stderr=True).status("") as line:  # prints nothing where that is no terminal
            while not (stand := goal(self._client.pools(), self._client.workers())).done:
                if stand.hopeless:
                    fail(f"{stand.text}; {stand.hopeless}", Exit.FAILED)
                if time.monotonic() > until:
                    _give_up(stand.text, self._timeout_s)
                line.update(Text(stand.text))
                time.sleep(POLL_S)


@contextmanager
def _operating(context: typer.Context, timeout: str) -> Generator[_Operation]:
    options: Options = context.obj
    timeout_s = duration(timeout, "--timeout")
    with talking_to_broker(options) as client:
        yield _Operation(client, timeout_s)


def _give_up(stand: str, timeout_s: float) -> NoReturn:
    fail(
        f"after {format_duration(timeout_s)} {stand}; it goes on without this command: `maitred status` and "
        "`maitred workers` show how far it is",
        Exit.FAILED,
    )
