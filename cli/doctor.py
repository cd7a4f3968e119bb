"""`maitred doctor`: looks at all that a broker and its workers need here, and says what to do where it is missing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from maitred.cli.findings import BROKEN, FINE, MARKS, NOTE, Finding
from maitred.cli.listing import Json
from maitred.cli.options import Options
from maitred.cli.output import Exit, print_json
from maitred.config import Config, ConfigError, import_adapters, load

__all__ = ["doctor"]

STYLES = {FINE: "green", NOTE: "yellow", BROKEN: "red"}

IMPORT_TIMEOUT_S = 60.0
"""As `maitred config check`."""

AT_A_TIME = 16
"""Checks that run beside one another: most of them wait."""

Check = Callable[[], Finding | list[Finding]]


def doctor(context: typer.Context, json: Json = False) -> None:
    """Check this host and the configuration: ✓ fine, ! worth knowing, ✗ broken, and what to do. Exit code 1 for a ✗."""
    options: Options = context.obj
    config, found = _configuration(options)
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        for outcome in [pool.submit(check) for check in _checks(config, options)]:
            result = outcome.result()
            found += [result] if isinstance(result, Finding) else result
    broken = any(each.state == BROKEN for each in found)
    if json:
        print_json({"fine": not broken, "checks": [dataclasses.asdict(each) for each in found]})
    else:
        _print(found)
    raise typer.Exit(Exit.FAILED if broken else Exit.FINE)


def _configuration(options: Options) -> tuple[Config | None, list[Finding]]:
    try:
        config = load(options.config, overrides=options.overrides)
    except ConfigError as error:
        todo = "`maitred config check` says the same; docs/configuration.md has every key"
        return None, [Finding("configuration", BROKEN, str(problem), todo) for problem in error.problems]
    pools = ", ".join(config.pools)
    return config, [Finding("configuration", FINE, f"{config.source or 'the built-in one'}; pools: {pools}")]


def _checks(config: Config | None, options: Options) -> Iterator[Check]:
    from maitred.cli import (
        broker_checks,
        host_checks,
        key_checks,
    )  # here: `maitred call` should not wait for what they import

    yield host_checks.interpreter
    yield host_checks.libraries
    yield lambda: host_checks.curve(config)
    yield host_checks.gpu
    yield lambda: host_checks.descriptors(config)
    yield lambda: host_checks.memory(config)
    yield lambda: host_checks.limits(config)
    yield lambda: host_checks.processes(config)
    yield host_checks.clock_check
    yield host_checks.tracing
    yield lambda: broker_checks.directory(config)
    if config is not None:
        it = config
        yield lambda: broker_checks.ports(it)
        yield lambda: key_checks.keys(it)
    yield lambda: key_checks.own(options.key)
    yield lambda: broker_checks.answers(config, options.endpoint, options.key)
    if config is not None:
        it = config
        yield lambda: _adapters(it)


def _adapters(config: Config) -> list[Finding]:
    """Each in a process of its own, beside one another."""
    return [
        Finding(
            "adapter", BROKEN, f"{each.adapter} does not import: {each.reason}", "workers of its pools cannot start"
        )
        if each.reason
        else Finding("adapter", FINE, f"{each.adapter} imports in {each.took_s:.1f} s")
        for each in import_adapters(config, pools=config.pools, timeout_s=IMPORT_TIMEOUT_S)
    ]


def _print(found: list[Finding]) -> None:
    table = Table.grid(padding=(0, 1))
    for style in (None, "bold", None):
        table.add_column(style=style, overflow="fold")
    for each in found:
        words = Text(each.found)
        if each.todo:
            words.append(f"\n→ {each.todo}", style=STYLES[each.state])
        table.add_row(Text(MARKS[each.state], style=STYLES[each.state]), each.check, words)
    console = Console(highlight=False)
    (console if console.is_terminal else Console(highlight=False, width=200)).print(table)
