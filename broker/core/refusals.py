"""Refusals that several verbs share."""

from __future__ import annotations

from maitred.broker.core.model import Client
from maitred.broker.core.state import State
from maitred.broker.core.words import nearest
from maitred.protocol.errors import Code


def refuse_unknown_pool(state: State, client: Client, request_id: int, name: str | None, asked: str) -> None:
    """Say which pools there are."""
    pools = sorted(state.pools)
    text = f"{asked}; there are: {', '.join(pools) or 'none'}"
    details = {"pool": name, "pools": pools, "nearest": nearest(name or "", pools)}
    state.refuse(client.peer, request_id, Code.UNKNOWN_POOL, text, details)
