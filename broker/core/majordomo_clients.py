"""Clients that speak Majordomo's protocol, as clients of ours: their requests in, what they are answered out.

    call → (introduce) → REQUEST … PART → PARTIAL · REPLY → REPLY or FINAL · ERROR → the same, with the body of an error

They never say that they live: each lives as long as its connection, and is forgotten once it has waited for nothing for
`idle_client_s`. Their protocol has no number for a request, so two of one client for one service are told apart by nothing
but the order in which they are answered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from maitred.broker.core.clients import Clients
from maitred.broker.core.dispatch import Dispatcher
from maitred.broker.core.effects import Forward, Peer, Send
from maitred.broker.core.majordomo_bodies import Opaque, Unfit, answer_of, arguments_of, command_of, error_of
from maitred.broker.core.majordomo_unfit import fail_unfit
from maitred.broker.core.model import Client, Worker
from maitred.broker.core.requests import Requests
from maitred.broker.core.settings import PoolSettings
from maitred.broker.core.state import State
from maitred.protocol import limits, messages
from maitred.protocol import majordomo as wire
from maitred.protocol.errors import Code

NAME = "majordomo"
"""What such a client is called in tables, and in the configuration of what clients are given."""

WINDOW_PARTS = limits.DEFAULT_WINDOW_PARTS
"""Parts that a worker of ours may send ahead for a client of MDP/0.2, which cannot say how many it wants. More are granted
as these are handed to its connection, whose own bounds (`outbox`) then hold."""

NOBODY = -1
"""Stands for a request in an error that speaks of the connection."""


class Asked:
    """One request of such a client."""

    __slots__ = ("delivered", "form", "granted", "pool", "service", "unfit")

    def __init__(self, call: wire.Call, pool: PoolSettings | None) -> None:
        self.form = call.form
        self.service = call.service
        self.pool = pool
        self.delivered = 0  # parts
        self.granted = 0  # of these, so many were made up for
        self.unfit: Unfit | None = None  # a part that could not be passed on


class Caller:
    """One such client. `client` is None until it has been let in."""

    __slots__ = ("asked", "client", "count", "peer")

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.client: Client | None = None
        self.count = 0
        self.asked: dict[int, Asked] = {}


def drawn(state: State, count: int) -> tuple[bytes, bytes]:
    """Two ids of 128 bits for a peer that draws none: of this life of the broker, and not to be guessed by others."""
    seed = state.settings.epoch + state.policy.secret.encode() + count.to_bytes(8, "big")
    digest = hashlib.blake2b(seed, digest_size=32, person=b"maitred-mdp").digest()
    return digest[:16], digest[16:]


class MajordomoClients:
    """The verbs of such a client.

    Attributes:
        callers: by connection.
    """

    def __init__(self, state: State, clients: Clients, requests: Requests, dispatcher: Dispatcher) -> None:
        self._state = state
        self._clients = clients
        self._requests = requests
        self._dispatcher = dispatcher
        self.callers: dict[Peer, Caller] = {}

    # --- in ---

    def call(self, peer: Peer, message: wire.Call, now: float, user: str) -> None:
        """Take in a request."""
        if message.service.startswith(wire.MANAGEMENT):
            self._manage(peer, message, user)
            return
        pool = self._state.settings.pools.get(message.service)
        asked = Asked(message, pool)
        caller = self._known(peer) or self._introduce(peer, asked, now, user)
        if caller.client is None:
            return
        command, body = command_of(pool, message.body), Opaque(message.body)
        unfit = self._why_unfit(message.service, command, body)
        if unfit is not None:
            self._say(peer, asked, error_of(pool, unfit.code, str(unfit)), messages.Error(0, unfit.code, str(unfit)))
            return
        caller.count += 1
        caller.asked[caller.count] = asked
        window = WINDOW_PARTS if message.form.version == 2 else 0
        request = messages.Request(caller.count, message.service, command, window=window)
        self._clients.receive(caller.client, request, body, now)

    def _known(self, peer: Peer) -> Caller | None:
        caller = self.callers.get(peer)
        if caller is not None and self._state.parties.get(peer) is not caller.client:
            self.forget(peer)  # it was taken to be gone meanwhile
            return None
        return caller

    def _why_unfit(self, service: str, command: str, body: Opaque) -> Unfit | None:
        """Why workers of ours could not read it; None where they could, or where there are none of ours to read it."""
        pool = self._state.pools.get(service)
        if pool is None or not pool.commands:
            return None
        try:
            arguments_of(pool.settings, command, body)
        except Unfit as error:
            return error
        return None

    def _introduce(self, peer: Peer, asked: Asked, now: float, user: str) -> Caller:
        """Let it in as a client of ours; where it is refused, the answer to its request says so."""
        self._state.met += 1
        client_id, _ = drawn(self._state, self._state.met)
        caller = self.callers[peer] = Caller(peer)
        self._state.majordomo[peer] = None
        caller.asked[NOBODY] = asked
        hello = messages.Hello(client_id, f"MDP/0.{asked.form.version}", name=NAME)
        self._clients.hello(peer, hello, now, user)
        party = self._state.parties.get(peer)
        if isinstance(party, Client):
            caller.client = party
            del caller.asked[NOBODY]
        return caller

    def _manage(self, peer: Peer, message: wire.Call, user: str) -> None:
        """RFC 8: "200" where a service has a worker, "404" where not, "501" for what it does not name."""
        code = "501"
        if message.service == "mmi.service":
            code = "200" if self._is_served(message.body, user) else "404"
        self._say(peer, Asked(message, None), [code.encode()], messages.Reply(0))

    def _is_served(self, body: Sequence[Any], user: str) -> bool:
        principal = self._state.policy.find(user)
        if not body or len(body[0]) > limits.MAX_NAME_CHARS * 4 or principal is None:
            return False
        name = bytes(body[0]).decode(errors="replace")
        pool = self._state.pools.get(name)
        return pool is not None and principal.may_call_pool(name) and (bool(pool.workers) or pool.dynamic)

    def refuse(self, peer: Peer, form: wire.Form, service: str, code: Code, text: str) -> None:
        """Answer what was no request that could be let in."""
        asked = Asked(wire.Call(form, service), None)
        self._say(peer, asked, error_of(None, code, text), messages.Error(NOBODY, code, text[: limits.MAX_TEXT_CHARS]))

    # --- out ---

    def answer(self, caller: Caller, send: Send) -> None:
        """Say in its protocol what was said in ours; what its protocol has no word for is not said."""
        message = send.message
        match message:
            case messages.Part():
                self._pass_on(caller, message, send.body)
            case messages.Reply():
                asked = caller.asked.pop(message.id, None)
                if asked is not None:
                    self._say(caller.peer, asked, self._result(asked, send.body), message)
            case messages.Error():
                self._fail(caller, message, send.body)
            case _:
                pass

    def _fail(self, caller: Caller, message: messages.Error, details: Sequence[Any]) -> None:
        """Answer with an error; one that speaks of the connection ends all that it waits for."""
        for number in list(caller.asked) if message.id == NOBODY else [message.id]:
            asked = caller.asked.pop(number, None)
            if asked is not None:
                self._say(caller.peer, asked, error_of(asked.pool, message.code, message.message, details), message)
        if caller.client is None:
            self.forget(caller.peer)

    def hand_over(self, send: Send, now: float) -> list[Send]:
        """A request that a worker of ours is given, with the body as such a worker reads it."""
        worker, order = self._state.parties.get(send.peer), send.message
        if not isinstance(worker, Worker) or not isinstance(order, messages.Dispatch):
            return []
        try:
            body = arguments_of(worker.pool.settings, order.command, Opaque(send.body))
        except Unfit as error:
            fail_unfit(self._state, self._dispatcher, worker, (order.client, order.id), error, now)
            return []
        return [Send(send.peer, order, body)]

    def _result(self, asked: Asked, body: Sequence[Any]) -> list[Any]:
        try:
            if asked.unfit is not None:
                raise asked.unfit
            return self._frames(asked, body)
        except Unfit as error:
            return error_of(asked.pool, error.code, str(error))

    def _frames(self, asked: Asked, body: Sequence[Any]) -> list[Any]:
        if isinstance(body, Opaque) or asked.pool is None:
            return list(body)
        return answer_of(asked.pool, body)

    def _pass_on(self, caller: Caller, message: messages.Part, body: Sequence[Any]) -> None:
        """Pass a part on. A later attempt begins again, and what was delivered of an earlier one is not said twice."""
        asked = caller.asked.get(message.id)
        if asked is None or caller.client is None or asked.form.version == 1:  # which asked for none
            return
        if message.number >= asked.delivered and asked.unfit is None:
            try:
                self._say(caller.peer, asked, self._frames(asked, body), message)
            except Unfit as error:
                asked.unfit = error
            asked.delivered = message.number + 1
        asked.granted += 1
        if asked.granted >= WINDOW_PARTS // 2:
            self._requests.grant(caller.client, messages.Grant(message.id, asked.granted))
            asked.granted = 0

    def _say(self, peer: Peer, asked: Asked, body: list[Any], message: messages.Message) -> None:
        final = not isinstance(message, messages.Part)
        frames = wire.encode(wire.Answer(asked.form, asked.service, body, final))
        self._state.out.append(Forward(peer, frames, message))

    # --- going ---

    def forget(self, peer: Peer) -> None:
        """It is gone, or was never let in."""
        if self.callers.pop(peer, None) is not None:
            self._state.majordomo.pop(peer, None)

    def sweep(self, now: float) -> None:
        """Whoever waits for an answer is heard, as it were: its protocol has no word to say so."""
        for peer, caller in list(self.callers.items()):
            if caller.client is None or self._state.parties.get(peer) is not caller.client:
                self.forget(peer)
            elif caller.client.waiting:
                caller.client.heard_at = now

    def check(self) -> None:
        """For tests: the books agree with ours."""
        for peer, caller in self.callers.items():
            if caller.client is not None and self._state.parties.get(peer) is caller.client:
                assert set(caller.asked) == set(caller.client.waiting)
