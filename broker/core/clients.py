"""Clients: who they are, what they may still wait for, and when they are taken to be gone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from maitred.broker.core.admission import MAX_RETRIES, Admission
from maitred.broker.core.books import pressure
from maitred.broker.core.effects import Peer
from maitred.broker.core.endings import Endings
from maitred.broker.core.model import Client, Identity
from maitred.broker.core.operations import Operations
from maitred.broker.core.refusals import refuse_unknown_pool
from maitred.broker.core.requests import Requests
from maitred.broker.core.sessions import Sessions
from maitred.broker.core.state import State
from maitred.broker.core.tables import TABLES
from maitred.broker.core.workers import Workers
from maitred.protocol import messages
from maitred.protocol.body import encode_body
from maitred.protocol.errors import Code

MAX_WATCHES = 64
"""Pools that one connection may watch: each change of level is sent to each."""


class Clients:
    """The verbs of a client's connection."""

    def __init__(
        self,
        state: State,
        admission: Admission,
        requests: Requests,
        endings: Endings,
        sessions: Sessions,
        workers: Workers,
        operations: Operations,
    ) -> None:
        self._state = state
        self._sessions = sessions
        self._admission = admission
        self._requests = requests
        self._endings = endings
        self._workers = workers
        self._operations = operations

    def hello(self, peer: Peer, message: messages.Hello, now: float) -> None:
        """A connection introduces itself. Saying it twice gives up what the first one waited for."""
        known = self._state.parties.get(peer)
        if isinstance(known, Client):
            self.lose(known, "said HELLO again", now)
        if self._state.clients >= self._state.settings.max_clients:
            self._state.refuse(peer, -1, Code.UNAVAILABLE, "too many clients", {"reason": "max_clients"})
            return
        identity = self._identify(message)
        identity.connections += 1
        client = Client(peer, identity, message.software, now)
        client.same_clock = bool(self._state.settings.clock) and message.clock == self._state.settings.clock
        client.bundles = message.bundles
        self._state.parties[peer] = client
        self._state.clients += 1
        self._workers.welcome(peer)

    def _identify(self, message: messages.Hello) -> Identity:
        identity = self._state.identities.get(message.client)
        if identity is None:
            settings = self._state.settings.client(message.name)
            identity = Identity(message.client, message.name, settings, MAX_RETRIES)
            self._state.identities[message.client] = identity
        return identity

    def receive(self, client: Client, message: messages.FromClient, body: Sequence[Any], now: float) -> None:
        """Act on what a known client says."""
        client.heard_at = now
        match message:
            case messages.Request():
                self._admission.admit(client, message, body, now)
            case messages.Heartbeat():
                self._state.send(client.peer, messages.Heartbeat())
            case messages.Cancel():
                self._cancel(client, message.id, now)
            case messages.Grant():
                self._requests.grant(client, message)
            case messages.Query():
                self._answer(client, message, now)
            case messages.Watch():
                self._watch(client, message, now)
            case messages.Open():
                self._sessions.open(client, message, body, now)
            case messages.Session():
                self._sessions.do(client, message, now)
            case messages.Operate():
                self._operations.operate(client, message, now)
            case messages.Bye():
                self.lose(client, "said BYE", now)
            case messages.Hello():
                self.hello(client.peer, message, now)

    def _cancel(self, client: Client, request_id: int, now: float) -> None:
        request = self._state.requests.get((client.id, request_id))
        if request is not None:
            self._endings.cancel(request, "cancelled", now)
        elif (pool := client.watches.pop(request_id, None)) is not None:
            del pool.watchers[client.peer, request_id]

    def _watch(self, client: Client, message: messages.Watch, now: float) -> None:
        pool = self._state.pools.get(message.pool)
        if pool is None:
            refuse_unknown_pool(self._state, client, message.id, message.pool, f"no pool {message.pool!r}")
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
        table = TABLES.get(message.what)
        if table is None:
            known = sorted(TABLES)
            text = f"no table {message.what!r}; there are: {', '.join(known)}"
            self._state.refuse(client.peer, message.id, Code.INVALID_ARGUMENT, text, {"argument": "what"})
            return
        rows: Callable[[State, float], Any] = table
        self._state.send(client.peer, messages.Reply(message.id), encode_body(rows(self._state, now)))

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
                if silent > (
                    it.client_silence_s if party.waiting or party.watches or party.sessions else it.idle_client_s
                ):
                    self.lose(party, f"silent for {silent:.0f} s", now)

    def forgive(self, now: float) -> None:
        """The broker itself was not running: whoever was silent meanwhile is not to blame."""
        for party in self._state.parties.values():
            if isinstance(party, Client):
                party.heard_at = now
