"""`maitred status`: one look at a running broker."""

from __future__ import annotations

from typing import Any

import typer

from maitred.cli.listing import Json, Watch, watching
from maitred.cli.output import age, counted, print_json
from maitred.cli.pools import print_pools
from maitred.client import Client

__all__ = ["broker_line", "status"]


def status(context: typer.Context, json: Json = False, watch: Watch = None) -> None:
    """One look: the broker and its pools."""

    def once(client: Client) -> None:
        broker, rows = client.broker(), client.pools()
        if json:
            print_json({"broker": broker, "pools": rows})
            return
        print(broker_line(broker))
        print_pools(rows)

    watching(context.obj, once, watch, json=json)


def broker_line(broker: dict[str, Any]) -> str:
    """The broker in one line."""
    state = "draining" if broker["draining"] else "serving"
    return (
        f"{broker['software']}: {state} for {age(broker['uptime'])}, {counted(broker['requests'], 'request')} under way, "
        f"{counted(broker['clients'], 'client')} connected"
    )
