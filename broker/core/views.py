"""What somebody sees of the tables who may not read everything: his own, and what is nobody's in particular."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from maitred.broker.core.model import Client, Request
from maitred.broker.core.session import Session
from maitred.broker.core.state import State
from maitred.broker.core.tables import TABLES, requests, sessions, workers

PRIVATE = frozenset({"deaths", "quarantine"})
"""Of which nothing is anybody's own: what others' requests did, and what their workers wrote."""


def seen(state: State, client: Client, what: str, now: float) -> Any:
    """The rows of a table that is none of PRIVATE, as this client may see it."""
    if not client.principal.read:
        own = _VIEWS.get(what)
        if own is not None:
            return own(state, client, now)
    rows: Callable[[State, float], Any] = TABLES[what]
    return rows(state, now)


def _workers(state: State, client: Client, now: float) -> Any:
    return workers(state, now, _own_request(client))


def _requests(state: State, client: Client, now: float) -> Any:
    return requests(state, now, _own_request(client))


def _sessions(state: State, client: Client, now: float) -> Any:
    name = client.principal.account

    def own(session: Session) -> bool:
        return session.principal == name and (bool(name) or session.client == client.id)

    return sessions(state, now, own)


def _broker(state: State, _client: Client, now: float) -> Any:
    """How much there is of everything, as each pool says too; what happened, and to whom, is for those who may read."""
    return TABLES["broker"](state, now) | {"counts": {}}


def _own_request(client: Client) -> Callable[[Request], bool]:
    account = client.identity.account
    return lambda request: request.identity.account is account


_VIEWS: dict[str, Callable[[State, Client, float], Any]] = {
    "workers": _workers,
    "requests": _requests,
    "sessions": _sessions,
    "broker": _broker,
}
