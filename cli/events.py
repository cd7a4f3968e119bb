"""`maitred events [NAME…]`: what happened at the broker lately, and with --follow what happens."""

from __future__ import annotations

import datetime
import sys
from typing import Annotated, Any

import typer

from maitred.cli.complete import event_names
from maitred.cli.listing import Json
from maitred.cli.options import Options, talking_to_broker
from maitred.cli.output import print_json
from maitred.client import Event
from maitred.protocol.events import WARNINGS

__all__ = ["events"]

Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME…]",
        help="Of events, or how they begin: worker.died, 'session.*'. Default: all.",
        autocompletion=event_names,
    ),
]
Follow = Annotated[bool, typer.Option("-f", "--follow", help="Go on with what happens, until Ctrl-C.")]
Since = Annotated[
    int | None,
    typer.Option(
        "--since",
        metavar="N",
        min=0,
        help="Those after event number N. Default: all that are kept; with --follow the last ten.",
    ),
]
FIRST_SHOWN = 10
"""Events of before that somebody sees who wants to follow, as of lines of a file that is followed."""


def events(
    context: typer.Context, names: Names = None, follow: Follow = False, since: Since = None, json: Json = False
) -> None:
    """Print the broker's last events, oldest first. docs/events.md says what each tells."""
    options: Options = context.obj
    wanted = names or []
    with talking_to_broker(options) as client:
        kept = list(client.events(*wanted, after=since or 0, follow=False))
        shown = kept[-FIRST_SHOWN:] if follow and since is None else kept
        for event in shown:
            _print(event, json)
        if not follow:
            if not kept and not json:
                print("no events", file=sys.stderr)
            return
        lost = 0
        last = kept[-1].number if kept else since or 0
        for event in client.events(*wanted, after=last):
            if event.lost > lost:
                left_out, lost = event.lost - lost, event.lost
                print(f"maitred: {left_out} events were left out: this reader is too slow", file=sys.stderr)
            _print(event, json)


def _print(event: Event, json: bool) -> None:
    when = datetime.datetime.fromtimestamp(event.at).astimezone()
    if json:
        print_json({"number": event.number, "at": when.isoformat(), "name": event.name, "fields": event.fields})
        return
    told = " ".join(f"{name}={_value(value)}" for name, value in event.fields.items() if value is not None)
    mark = "!" if event.name in WARNINGS else " "
    print(f"{event.number:>6} {when:%H:%M:%S} {mark} {event.name:<20} {told}", flush=True)


def _value(value: Any) -> str:
    """As it is read; what a terminal would obey is shown, and not obeyed."""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    plain = text if text.isprintable() else "".join(it if it.isprintable() else repr(it)[1:-1] for it in text)
    return repr(plain) if " " in plain or not plain else plain
