"""What a person may do to a running broker: to its requests here, to its pools and workers in `pool_operations`."""

from __future__ import annotations

from typing import Any

from maitred.broker.core.effects import Reload
from maitred.broker.core.endings import Endings
from maitred.broker.core.model import Client, Request
from maitred.broker.core.pool_operations import PoolOperations
from maitred.broker.core.rights import denied
from maitred.broker.core.state import State
from maitred.protocol import messages
from maitred.protocol.body import encode_body
from maitred.protocol.errors import Code

VERBS = ("cancel", "release", "scale", "pause", "resume", "drain", "recycle", "retire", "reload")


class Operations:
    """Each verb returns what was done, or a sentence that says why nothing was."""

    def __init__(self, state: State, endings: Endings, pools: PoolOperations) -> None:
        self._state = state
        self._endings = endings
        self._pools = pools

    def operate(self, client: Client, message: messages.Operate, now: float) -> None:
        """Do it, and say what was done."""
        if not client.principal.operate:
            text, details = denied(client.principal, "operate", f"{message.verb}: that is for operators")
            self._state.refuse(client.peer, message.id, Code.PERMISSION_DENIED, text, details)
            self._state.note(
                "operator.refused", verb=message.verb, principal=client.principal.name, software=client.software
            )
            return
        if message.verb not in VERBS:
            text = f"no verb {message.verb!r}; there are: {', '.join(VERBS)}"
            self._state.refuse(client.peer, message.id, Code.INVALID_ARGUMENT, text, {"argument": "verb"})
            return
        if message.verb == "reload":
            self._state.note("operator.reload", target="", software=client.software, principal=client.principal.name)
            self._state.out.append(Reload(client.peer, message.id))
            return
        done = self.carry_out(message.verb, message.target, client.software, client.principal.name, now)
        if isinstance(done, str):
            self._state.refuse(client.peer, message.id, Code.INVALID_ARGUMENT, done, {"argument": "target"})
        else:
            self._state.send(client.peer, messages.Reply(message.id), encode_body(done))

    def carry_out(self, verb: str, target: str, software: str, principal: str, now: float) -> dict[str, Any] | str:
        """Do it for somebody who may, and note it; `verb` is one of VERBS but "reload", which only a shell can do."""
        done = self._do(verb, target, now)
        if not isinstance(done, str):
            self._state.note("operator." + verb, target=target, software=software, principal=principal)
        return done

    def _do(self, verb: str, target: str, now: float) -> dict[str, Any] | str:
        match verb:
            case "cancel":
                return self._cancel(target, now)
            case "release":
                return self._release(target)
            case "scale":
                return self._pools.scale(target, now)
            case "pause":
                return self._pools.pause(target)
            case "resume":
                return self._pools.resume(target, now)
            case "drain":
                return self._pools.drain(target, now)
            case "retire":
                return self._pools.retire(target, now)
            case _:
                return self._pools.recycle(target, now)

    def _cancel(self, target: str, now: float) -> dict[str, Any] | str:
        found = [request for request in self._state.requests.values() if name_of(request) == target]
        if len(found) != 1:
            return f"{len(found) or 'no'} request{'s are' if len(found) > 1 else ' is'} called {target!r} just now"
        (request,) = found
        where = "queued" if request.worker is None else "running"
        self._endings.cancel(request, "operator", now)
        return {"request": target, "was": where}

    def _release(self, target: str) -> dict[str, Any] | str:
        released = self._state.quarantine.release(target)
        if not released and target != "all":
            return f"nothing in quarantine has the fingerprint {target!r}"
        return {"released": [entry.fingerprint for entry in released]}


def name_of(request: Request) -> str:
    """What a request is called in tables and logs; as `Context.request_id` in its worker."""
    client_id, request_id = request.key
    return f"{client_id.hex()[:8]}-{request_id}"
