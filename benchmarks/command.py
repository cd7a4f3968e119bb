"""`maitred bench`: run scenarios, show what there is, compare two runs, tune. Loaded only when it is asked for."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from typer.core import TyperGroup

from maitred.benchmarks import results
from maitred.benchmarks.report import compare as comparison
from maitred.benchmarks.report import page, terminal
from maitred.benchmarks.report.progress import progress
from maitred.benchmarks.results import Result, ResultError
from maitred.benchmarks.scenarios import registry as scenarios
from maitred.benchmarks.scenarios.common import Parameters
from maitred.benchmarks.scenarios.registry import Scenario, UnknownScenario
from maitred.benchmarks.subjects import registry as subjects
from maitred.benchmarks.subjects.protocol import Subject, Transport
from maitred.benchmarks.subjects.registry import UnknownSubject
from maitred.benchmarks.tuning.command import tune

__all__ = ["app"]

ALL = "all"

FAILED, USAGE = 1, 2
"""Exit codes, as those of every command."""

Peers = Annotated[str, typer.Option("--peers", metavar="all|none|A,B", help="What to measure beside maitred. "
                                    f"Default: {','.join(subjects.FLOOR)}. `list` says which there are.")]  # fmt: skip
Ours = Annotated[str | None, typer.Option("--ours", metavar="A,B", help="Which of maitred's clients to measure. "
                                          "Default: the scenario's own; `list` says which.")]  # fmt: skip
Way = Annotated[Transport | None, typer.Option("--transport", help="Between callers and what is in the middle.")]
Payload = Annotated[str | None, typer.Option("--payload", metavar="BYTES", help="Of each request.")]
Workers = Annotated[str | None, typer.Option("--workers", metavar="N", help="Processes that do the task.")]
Rounds = Annotated[str | None, typer.Option("--rounds", metavar="N", help="How often subjects take turns.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any parameter of the scenario; "
                                               "several values with commas between.")]  # fmt: skip
Long = Annotated[bool, typer.Option("--long", help="Many more rounds and settings: minutes.")]
Json = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write what was found; - is standard output.")
]
Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page with plots.")]


class _Group(TyperGroup):
    """Without the name of a scenario it is all of them that are meant."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        is_help = any(word in ("-h", "--help") for word in args[:1])
        named = args if is_help or (args and not args[0].startswith("-")) else [ALL, *args]
        return super().parse_args(ctx, named)


app = typer.Typer(
    cls=_Group,
    name="bench",
    help="Measure maitred beside its peers, on this machine. Without a scenario: all of them, in their short form.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _add(name: str, question: str, names: Sequence[str]) -> None:
    def run(
        peers: Peers = "",
        ours: Ours = None,
        transport: Way = None,
        payload: Payload = None,
        workers: Workers = None,
        rounds: Rounds = None,
        set_: Set = None,
        long: Long = False,
        json: Json = None,
        html: Html = None,
    ) -> None:
        given = {"transport": transport, "payload_bytes": payload, "workers": workers, "rounds": rounds}
        said = {name: text for name, text in given.items() if text is not None}
        try:
            said.update(map(_name_and_value, set_ or ()))
            plan = [
                (scenario, parameters, subjects.chosen(scenario.ours if ours is None else ours, peers))
                for scenario, parameters in _plan([scenarios.load(name) for name in names], said, long)
            ]
        except (UnknownScenario, UnknownSubject) as error:
            _fail(str(error), USAGE)
        _run(plan, json, html)

    app.command(name, help=question)(run)


def _name_and_value(setting: str) -> tuple[str, str]:
    name, equals, value = setting.partition("=")
    if not equals:
        raise UnknownScenario(f"--set takes NAME=VALUE, not {setting!r}")
    return name.strip(), value.strip()


def _plan(wanted: Sequence[Scenario], given: Mapping[str, str], long: bool) -> list[tuple[Scenario, Parameters]]:
    """What to run; where that is several scenarios, each takes of what was given that which it has."""
    known = {name for scenario in wanted for name in scenario.parameters.__struct_fields__}
    unknown = {name: value for name, value in given.items() if name not in known}
    plan: list[tuple[Scenario, Parameters]] = []
    for scenario in wanted:
        mine = {name: value for name, value in given.items() if name in scenario.parameters.__struct_fields__}
        plan.append((scenario, scenarios.parameters(scenario, {**mine, **unknown}, long=long)))
    return plan


def _run(plan: Sequence[tuple[Scenario, Parameters, Sequence[Subject]]], json: Path | None, html: Path | None) -> None:
    to_stdout = json is not None and str(json) == "-"
    console = Console(stderr=to_stdout, width=None if sys.stdout.isatty() else 160)
    found: list[Result] = []
    for scenario, parameters, chosen in plan:
        with progress(scenario.name) as say:
            found.append(scenario.run(chosen, parameters, say))
        terminal.print_result(console, found[-1])
    if to_stdout:
        sys.stdout.buffer.write(results.encode(found))
    elif json is not None:
        results.write(found, json)
    if html is not None:
        html.write_text(page.render(found), encoding="utf-8")
    if not any(result.measurements for result in found):
        _fail("nothing was measured", FAILED)


@app.command("list")
def list_() -> None:
    """Show the scenarios with their parameters, and the subjects with why one would be skipped."""
    terminal.print_lists(
        Console(width=None if sys.stdout.isatty() else 160),
        [scenarios.load(name) for name in scenarios.SCENARIOS],
        [subjects.load(name) for name in (*subjects.OURS, *subjects.PEERS)],
    )


@app.command("compare")
def compare(
    before: Annotated[Path, typer.Argument(metavar="A", help="Written by --json.")],
    after: Annotated[Path, typer.Argument(metavar="B", help="Another one.")],
) -> None:
    """Compare two runs: what changed by more than both of them are sure of."""
    found = comparison.compare(_read(before), _read(after))
    terminal.print_changes(Console(width=None if sys.stdout.isatty() else 160), found)


def _read(path: Path) -> list[Result]:
    try:
        return results.read(path)
    except (OSError, ResultError) as error:
        _fail(str(error), USAGE)


def _fail(text: str, code: int) -> NoReturn:
    print(f"maitred bench: {text}", file=sys.stderr)
    raise typer.Exit(code)


app.command("tune")(tune)
_add(ALL, "All scenarios, one after the other.", scenarios.SCENARIOS)
for _name in scenarios.SCENARIOS:
    _add(_name, scenarios.load(_name).question, [_name])
