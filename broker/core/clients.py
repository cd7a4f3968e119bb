"""Clients: who they are, what they may still wait for, and when they are taken to be gone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from maitred.broker.core.account import MAX_RETRIES
from maitred.broker.core.admission import Admission
from maitred.broker.core.allowance import too_soon
from maitred.broker.core.books import pressure
from maitred.broker.core.effects import Peer
from maitred.broker.core.endings import Endings
from maitred.broker.core.introductions import Introductions
from maitred.broker.core.listeners import Listeners
from maitred.broker.core.model import Client, Identity
from maitred.broker.core.operations import Operations
from maitred.broker.core.policy import Principal
from maitred.broker.core.refusals import refuse_unknown_pool
from maitred.broker.core.requests import Requests
from maitred.broker.core.rights import denied, denied_call
from maitred.broker.core.sessions import Sessions
from maitred.broker.core.state import State
from maitred.broker.core.tables import TABLES
from maitred.broker.core.views import PRIVATE, seen
from maitred.broker.core.workers import Workers
from maitred.protocol import messages
from maitred.protocol.body import encode_body
from maitred.protocol.errors import Code

_ASKS_THE_BROKER = messages.Query | messages.Open | messages.Listen
"""What costs the broker itself more than a request does, and counts as one by the rate of a key."""

MAX_WATCHES = 64
"""Pools that one connection may watch: each change of level is sent to each."""


class Clients:
    """The verbs of a client's connection."""

    def __init__(
        self,
        state: State,
        introductions: Introductions,
        admission: Admission,
        requests: Requests,
        endings: Endings,
        sessions: Sessions,
        workers: Workers,
        operations: Operations,
        listeners: Listeners,
    ) -> None:
        self._state = state
        self._introductions = introductions
        self._sessions = sessions
        self._admission = admission
        self._requests = requests
        self._endings = endings
        self._workers = workers
        self._operations = operations
        self._listeners = listeners

    def hello(self, peer: Peer, message: messages.Hello, now: float, user: str = "") -> None:
        """A connection introduces itself. Saying it twice gives up what the first one waited for."""
        state = self._state
        known = state.parties.get(peer)
        if isinstance(known, Client):
            self.lose(known, "said HELLO again", now)
        principal = self._introductions.find(peer, user, message.secret)
        if principal is None or not self._introductions.is_client(peer, principal):
            return
        if state.clients >= state.settings.max_clients:
            state.refuse(peer, -1, Code.UNAVAILABLE, "too many clients", {"reason": "max_clients"})
            return
        identity = self._identify(message, principal)
        if not identity.principal.is_same(principal):
            self._introductions.deny(peer, principal, "client", "be this client: another's processes have its id")
            return
        client = Client(peer, identity, message.software, now)
        client.principal, client.user = principal, user
        client.same_clock = bool(state.settings.clock) and message.clock == state.settings.clock
        client.bundles = message.bundles
        self.enter(client)
        self._workers.welcome(peer)

    def enter(self, client: Client) -> None:
        """It is one of the parties from now on, and may do what its principal may."""
        client.calls = self._state.calls_of(client.principal)
        client.identity.connections += 1
        self._state.identities[client.id] = client.identity
        self._state.parties[client.peer] = client
        self._state.clients += 1

    def _identify(self, message: messages.Hello, principal: Principal) -> Identity:
        identity = self._state.identities.get(message.client)
        if identity is not None:
            return identity
        account = self._state.account_of(principal.name) if principal.keyed else None
        given = self._state.settings.client(message.name)
        return Identity(message.client, message.name, given, MAX_RETRIES, principal, account)

    def receive(
        self, client: Client, message: messages.FromClient, body: Sequence[Any], now: float, user: str = ""
    ) -> None:
        """Act on what a known client says."""
        client.heard_at = now
        if client.identity.account.limited and isinstance(message, _ASKS_THE_BROKER):
            over = too_soon(client.identity.account, client.principal.title, now)
            if over is not None:
                details = {"reason": over.reason, "capacity": over.capacity, "retry_after": over.retry_after}
                self._state.refuse(client.peer, message.id, Code.RESOURCE_EXHAUSTED, over.text, details)
                self._state.note("client.limited", reason=over.reason, principal=client.principal.account or None)
                return
        match message:
            case messages.Request():
                self._admission.admit(client, message, body, now)
            case messages.Heartbeat():
                self._state.send(client.peer, messages.Heartbeat())
            case messages.Cancel():
                self._cancel(client, message.id, now)
            case messages.Grant():
                if not self._listeners.grant(client, message):
                    self._requests.grant(client, message)
            case messages.Query():
                self._answer(client, message, now)
            case messages.Watch():
                self._watch(client, message, now)
            case messages.Listen():
                self._listeners.begin(client, message)
            case messages.Open():
                self._sessions.open(client, message, body, now)
            case messages.Session():
                self._sessions.do(client, message, now)
            case messages.Operate():
                self._operations.operate(client, message, now)
            case messages.Bye():
                self.lose(client, "said BYE", now)
            case messages.Hello():
                self.hello(client.peer, message, now, user)

    def _cancel(self, client: Client, request_id: int, now: float) -> None:
        request = self._state.requests.get((client.id, request_id))
        if request is not None:
            self._endings.cancel(request, "cancelled", now)
        elif (pool := client.watches.pop(request_id, None)) is not None:
            del pool.watchers[client.peer, request_id]
        else:
            self._listeners.cancel(client, request_id)

    def _watch(self, client: Client, message: messages.Watch, now: float) -> None:
        pool = self._state.pools.get(message.pool)
        if pool is None:
            refuse_unknown_pool(self._state, client, message.id, message.pool, f"no pool {message.pool!r}")
        elif not client.principal.may_call_pool(pool.name):
            self._state.refuse(
                client.peer, message.id, Code.PERMISSION_DENIED, *denied_call(client.principal, pool.name, None)
            )
        elif len(client.watches) >= MAX_WATCHES and message.id not in client.watches:
            text = f"a connection watches {MAX_WATCHES} pools at most"
            self._state.refuse(client.peer, message.id, Code.INVALID_ARGUMENT, text, {"argument": "pool"})
        else:
            if (before := client.watches.get(message.id)) is not None:
                del before.watchers[client.peer, message.id]
            client.watches[message.id] = pool
            pool.watchers[client.peer, message.id] = None
            self._state.send(client.peer, pressure(pool, message.id, now))

    def _answer(self, client: Client, message: messages.Query, now: float) -> None:
        if message.what not in TABLES:
            known = sorted(TABLES)
            text = f"no table {message.what!r}; there are: {', '.join(known)}"
            self._state.refuse(client.peer, message.id, Code.INVALID_ARGUMENT, text, {"argument": "what"})
        elif message.what in PRIVATE and not client.principal.read:
            text, details = denied(client.principal, "read", f"read the table {message.what!r}")
            self._state.refuse(client.peer, message.id, Code.PERMISSION_DENIED, text, details)
        else:
            rows = seen(self._state, client, message.what, now)
            self._state.send(client.peer, messages.Reply(message.id), encode_body(rows))

    def lose(self, client: Client, why: str, now: float) -> None:
        """A client is gone: what it waited for is not begun, and what runs is told to stop."""
        del self._state.parties[client.peer]
        self._state.clients -= 1
        for request_id, pool in client.watches.items():
            del pool.watchers[client.peer, request_id]
        self._sessions.silence(client)
        waiting = list(client.waiting.values())
        for request in waiting:
            self._endings.give_up(request, now)
        client.identity.connections -= 1
        if not client.identity.connections:
            del self._state.identities[client.id]
        if waiting:
            self._state.note("client.lost", client=client.id.hex(), requests=len(waiting), why=why)

    def sweep(self, now: float) -> None:
        """Look for those who are silent too long: soon where work is done for them, later where not."""
        it = self._state.settings
        for party in list(self._state.parties.values()):
            if isinstance(party, Client):
                silent = now - party.heard_at
                awaits = party.waiting or party.watches or party.sessions or party.listens
                if silent > (it.client_silence_s if awaits else it.idle_client_s):
                    self.lose(party, f"silent for {silent:.0f} s", now)

    def forgive(self, now: float) -> None:
        """The broker itself was not running: whoever was silent meanwhile is not to blame."""
        for party in self._state.parties.values():
            if isinstance(party, Client):
                party.heard_at = now
