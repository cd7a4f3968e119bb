"""What the lists have in common: `ls` by default, `--json`, `--pool`, `--watch`, and finding one by how its id begins."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from maitred.cli import complete
from maitred.cli.failures import described
from maitred.cli.options import Options, duration, open_client, talking_to_broker
from maitred.cli.output import Exit, fail, print_json
from maitred.client import Client
from maitred.client.errors import DeadlineExceeded, MaitredError, Unavailable
from maitred.config.problems import nearest

__all__ = ["Json", "ListsByDefault", "OfPool", "Rows", "Watch", "check_pool", "look", "new_group", "one", "watching"]

Rows = list[dict[str, Any]]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OfPool = Annotated[
    str | None,
    typer.Option("--pool", metavar="POOL", help="Those of one pool only.", autocompletion=complete.pools),
]
Watch = Annotated[
    str | None,
    typer.Option("--watch", metavar="SECONDS", help="Look again and again, so many seconds apart, until Ctrl-C."),
]

SHOWN_IDS = 10
"""Of those that begin alike: enough to choose from, and one screen."""


class ListsByDefault(TyperGroup):
    """A group of commands that is `ls` where no other is named: `maitred workers --json`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As the class says. Help is the group's own."""
        named = args and (not args[0].startswith("-") or args[0] in ctx.help_option_names)
        return super().parse_args(ctx, args if named or ctx.resilient_parsing else ["ls", *args])


def new_group(about: str) -> typer.Typer:
    """A group of commands for one of the broker's tables."""
    return typer.Typer(help=f"{about} Alone, it lists them.", cls=ListsByDefault)


def look(
    context: typer.Context,
    json: bool,
    ask: Callable[[Client], Rows],
    for_people: Callable[[Rows], None],
    *,
    pool: str | None = None,
    watch: str | None = None,
    pool_key: str = "pool",
) -> None:
    """Print one of the broker's tables, as JSON or for people.

    Args:
        context: of the command.
        json: whether a machine reads it.
        ask: gives the rows.
        for_people: prints them.
        pool: only the rows of this pool.
        watch: seconds between looks; None: one look.
        pool_key: where a row says its pool.
    """

    def once(client: Client) -> None:
        rows = ask(client)
        if pool is not None:
            rows = [row for row in rows if row[pool_key] == pool]
            if not rows:
                check_pool(client, pool)
        (print_json if json else for_people)(rows)

    watching(context.obj, once, watch, json=json)


def watching(options: Options, once: Callable[[Client], None], watch: str | None, *, json: bool) -> None:
    """Look once, or again and again; a broker that goes away meanwhile is waited for."""
    if watch is None:
        with talking_to_broker(options) as client:
            once(client)
        return
    pause_s = duration(watch if watch.rstrip()[-1:].isalpha() else f"{watch}s", "--watch")
    with talking_to_broker(options) as client:
        while True:
            client = _look_again(options, client, once, json)
            time.sleep(pause_s)


def _look_again(options: Options, client: Client, once: Callable[[Client], None], json: bool) -> Client:
    """One look of many; returns the client for the next one."""
    if not json:
        console = Console()
        console.clear()  # a terminal only
        console.print(f"{time.strftime('%H:%M:%S')}", style="dim", highlight=False)
    try:
        once(client)
    except (Unavailable, DeadlineExceeded) as error:
        print(f"maitred: {described(error)}; trying again", file=sys.stderr, flush=True)
        client.close()
        return _reopened(options, client)
    sys.stdout.flush()
    return client


def _reopened(options: Options, before: Client) -> Client:
    try:
        return open_client(options)
    except MaitredError:
        return Client(before.endpoint, key=options.key, connect_timeout=options.connect_timeout_s)


def check_pool(client: Client, pool: str) -> None:
    """End the command where there is no such pool: an empty list would say that there is, and nothing in it."""
    names = [row["name"] for row in client.pools()]
    if pool not in names:
        near = nearest(pool, names)
        hint = f"; did you mean {near!r}?" if near else ""
        fail(f"no pool is called {pool!r}; there are: {', '.join(names) or 'none'}{hint}", Exit.FAILED)


def one(rows: Mapping[str, dict[str, Any]], begins: str, what: str) -> dict[str, Any]:
    """The row whose id is this, or begins so; where there is none, or several, say which there are and end.

    `rows` by id; `what` is the command that lists them: "workers".
    """
    found = [begins] if begins in rows else [key for key in rows if key.startswith(begins)]
    if not found:
        fail(f"no id of {what} begins with {begins!r}; `maitred {what}` shows what is there", Exit.FAILED)
    if len(found) > 1:
        shown = "".join(f"\n  {key}" for key in found[:SHOWN_IDS])
        more = f"\n  and {len(found) - SHOWN_IDS} more" if len(found) > SHOWN_IDS else ""
        which = f"{len(found)} ids of {what} begin with {begins!r}"
        fail(f"{which}; say more of the one you mean:{shown}{more}", Exit.FAILED)
    return rows[found[0]]
