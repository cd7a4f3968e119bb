"""`maitred up | broker | pool NAME`: what stays in the foreground until it is told to end."""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import replace
from typing import Annotated

import typer

from maitred.cli.options import Key, Options, key_for, load_config
from maitred.cli.output import Exit, fail
from maitred.client.endpoint import find_endpoint
from maitred.config import Config, check_adapters
from maitred.config.problems import nearest
from maitred.config.rundir import discover_endpoint, discover_workers_endpoint, run_dir

__all__ = ["broker", "pool", "up"]

PATIENCE_S = 2.0
"""After so long without a word the user is told what is waited for."""


Reload = Annotated[
    bool,
    typer.Option("--reload", help="Replace a pool's workers whenever a file of its adapter changes: for development."),
]


Insecure = Annotated[
    bool,
    typer.Option(
        "--insecure",
        help="Listen where other hosts reach it without keys, too: whoever does may call, register and operate.",
    ),
]


def up(context: typer.Context, reload: Reload = False, insecure: Insecure = False) -> None:
    """Start a broker and one agent per pool, and keep them running. Ctrl-C or SIGTERM drains; a second one forces."""
    from maitred.cli.up import run_house
    from maitred.launcher.house_settings import of_house

    options = _with_insecure(context.obj, insecure)
    config = load_config(options)
    _refuse_bad_adapters(config, list(config.pools))
    fine = run_house(of_house(config, options.log_level, options.log_format, reload=reload))
    raise typer.Exit(Exit.FINE if fine else Exit.FAILED)


def broker(context: typer.Context, insecure: Insecure = False) -> None:
    """Start the broker alone; workers register from elsewhere."""
    from maitred.broker.bound import Bound
    from maitred.broker.process import START_ERRORS
    from maitred.broker.process import run as run_broker  # here and below: `maitred call` should not wait for them
    from maitred.launcher import settings

    options = _with_insecure(context.obj, insecure)
    config = load_config(options)
    told = settings.of_broker(config, options.log_level, options.log_format, parent=None)

    def tell(bound: Bound) -> None:
        http = f", http://{bound.http}" if bound.http else ""
        clients, workers = (" ".join(reversed(listed)) for listed in (bound.clients, bound.workers))
        print(f"maitred broker listens: clients {clients}, workers {workers}{http}", flush=True)

    try:
        code = run_broker(told, tell)
    except START_ERRORS as error:
        fail(str(error), Exit.FAILED)
    raise typer.Exit(code)


def pool(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The pool, as the configuration names it.")],
    connect: Annotated[
        str | None,
        typer.Option("--connect", metavar="ENDPOINT", help="Where workers register. Default: a local broker."),
    ] = None,
    clients: Annotated[
        str | None,
        typer.Option("--clients", metavar="ENDPOINT", help="Where context.call calls. Default: a local broker."),
    ] = None,
    key: Key = None,
) -> None:
    """Start one pool's agent and its workers on this host, for a broker that runs already."""
    from maitred.launcher import settings
    from maitred.launcher.house import run_agent

    options: Options = context.obj
    config = load_config(options)
    if name not in config.pools:
        near = nearest(name, list(config.pools))
        hint = f"; did you mean {near!r}?" if near else "; -c FILE names another configuration"
        fail(f"no pool {name!r} in the configuration; there are: {', '.join(config.pools)}{hint}", Exit.USAGE)
    if config.pools[name].adapter is None:
        served = f"python -m maitred.worker --pool {name} module:service"
        todo = f'set pools.{name}.adapter = "module:service", or start workers by hand: {served}'
        fail(f"pool {name!r} has no adapter, so there is nothing to run; {todo}", Exit.USAGE)
    endpoint = connect or discover_workers_endpoint(None)
    if endpoint is None:
        fail(
            f"no broker runs here, as far as {run_dir()} tells; start one (`maitred up`), or say where workers register: "
            "--connect tcp://host:5751",
            Exit.NO_BROKER,
        )
    try:
        for each in filter(None, (connect, clients)):
            find_endpoint(each)
    except ValueError as error:
        fail(str(error), Exit.USAGE)
    _refuse_bad_adapters(config, [name])
    key_file = key_for(endpoint, key or options.key)
    calls = clients or discover_endpoint(options.endpoint)
    told = settings.of_agent(config, name, endpoint, calls, parent=os.getpid(), key_file=key_file)
    who = "1 worker, which registers" if told.size == 1 else f"{told.size} workers, which register"
    print(f"maitred pool {name}: starts {who} at {endpoint}", flush=True)
    raise typer.Exit(Exit.FINE if run_agent(told) else Exit.FAILED)


def _with_insecure(options: Options, insecure: bool) -> Options:
    """The option is the key of the configuration; said on the command line, it wins."""
    return replace(options, overrides=(*options.overrides, "broker.insecure=true")) if insecure else options


def _refuse_bad_adapters(config: Config, names: list[str]) -> None:
    pools = [config.pools[name] for name in names]
    said = f"maitred: importing {', '.join(dict.fromkeys(pool.adapter for pool in pools if pool.adapter))} …"
    notice = threading.Timer(PATIENCE_S, print, [said], {"file": sys.stderr, "flush": True})
    notice.daemon = True
    notice.start()
    try:
        problems = check_adapters(
            config, pools=names, timeout_s=max((pool.startup_timeout_s for pool in pools), default=0)
        )
    finally:
        notice.cancel()
    for problem in problems:
        print(f"maitred: {problem}", file=sys.stderr)
    if problems:
        raise typer.Exit(Exit.USAGE)
