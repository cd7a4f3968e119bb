"""What a person may do to a running broker: cancel a request, release one from quarantine."""

from __future__ import annotations

from typing import Any

from maitred.broker.core.endings import Endings
from maitred.broker.core.model import Client, Request
from maitred.broker.core.state import State
from maitred.protocol import messages
from maitred.protocol.body import encode_body
from maitred.protocol.errors import Code

VERBS = ("cancel", "release")


def operate(state: State, endings: Endings, client: Client, message: messages.Operate, now: float) -> None:
    """Do it, and say what was done."""
    match message.verb:
        case "cancel":
            done = _cancel(state, endings, message.target, now)
        case "release":
            done = _release(state, message.target)
        case _:
            text = f"no verb {message.verb!r}; there are: {', '.join(VERBS)}"
            state.refuse(client.peer, message.id, Code.INVALID_ARGUMENT, text, {"argument": "verb"})
            return
    if isinstance(done, str):
        state.refuse(client.peer, message.id, Code.INVALID_ARGUMENT, done, {"argument": "target"})
        return
    state.note("operator." + message.verb, target=message.target, software=client.software)
    state.send(client.peer, messages.Reply(message.id), encode_body(done))


def name_of(request: Request) -> str:
    """What a request is called in tables and logs; as `Context.request_id` in its worker."""
    client_id, request_id = request.key
    return f"{client_id.hex()[:8]}-{request_id}"


def _cancel(state: State, endings: Endings, target: str, now: float) -> dict[str, Any] | str:
    found = [request for request in state.requests.values() if name_of(request) == target]
    if len(found) != 1:
        return f"{len(found) or 'no'} request{'s are' if len(found) > 1 else ' is'} called {target!r} just now"
    (request,) = found
    where = "queued" if request.worker is None else "running"
    endings.cancel(request, "operator", now)
    return {"request": target, "was": where}


def _release(state: State, target: str) -> dict[str, Any] | str:
    released = state.quarantine.release(target)
    if not released and target != "all":
        return f"nothing in quarantine has the fingerprint {target!r}"
    return {"released": [entry.fingerprint for entry in released]}
