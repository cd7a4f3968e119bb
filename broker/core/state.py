"""Everything the core knows, and the two ways it speaks: `send` and `note`. No decisions here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from maitred.broker.core.account import MAX_RETRIES, Account
from maitred.broker.core.agent import Agent
from maitred.broker.core.deadlines import Deadlines
from maitred.broker.core.deaths import Deaths
from maitred.broker.core.effects import Effect, Note, Peer, Send
from maitred.broker.core.journey import Journey
from maitred.broker.core.meters import MEANS, Ended, Histogram, add
from maitred.broker.core.model import Client, Identity, Key, Request, Retirement, Worker
from maitred.broker.core.policy import TRUSTED, Policy, Principal
from maitred.broker.core.pool import Pool
from maitred.broker.core.quarantine import Quarantine
from maitred.broker.core.rights import Calls, calls_anything
from maitred.broker.core.session import Session
from maitred.broker.core.settings import CoreSettings
from maitred.broker.core.stop import Stop
from maitred.protocol import limits, messages
from maitred.protocol.body import encode_body
from maitred.protocol.errors import Code
from maitred.protocol.own_events import COUNTED_AS

SPAN_STEP = 0x9E3779B97F4A7C15
"""From one span's name to the next: odd, so that none comes twice, and far, so that two brokers' names do not meet."""


class Control:
    """A worker's second connection. Its principal is the worker's, where that has a key."""

    __slots__ = ("principal", "user", "worker")

    def __init__(self, worker: Worker, principal: Principal = TRUSTED, user: str = "") -> None:
        self.worker = worker
        self.principal = principal
        self.user = user


Party = Client | Worker | Control | Agent


class State:
    """The broker's whole memory.

    `parties` says who is behind a connection; `requests` holds every request that still owes its client an answer;
    `abandoned` those answered already whose worker is not done with them.
    """

    def __init__(self, settings: CoreSettings, now: float) -> None:
        self.settings = settings
        self.policy = settings.policy
        self.principals: dict[str, Principal] = {}
        """Those that have a key, by name."""
        self.accounts: dict[str, Account] = {}
        """Of those of them that were here, by name: they are kept, as who comes again has not a second's worth anew."""
        self._calls: dict[Principal, Calls] = {}
        self.go_by(settings.policy)
        self.started_at = now
        self.pools = {name: Pool(pool, now) for name, pool in settings.pools.items()}
        self.parties: dict[Peer, Party] = {}
        self.departed: dict[Peer, None] = {}
        """Of these, whose connections have ended, and who may come back by others."""
        self.majordomo: dict[Peer, None] = {}
        """Connections that speak Majordomo's protocol: their workers own no sessions, and are given no batches."""
        self.met = 0
        """Of these, in all."""
        self.clients = 0
        self.identities: dict[bytes, Identity] = {}
        self.workers: dict[bytes, Worker] = {}
        self.agents: dict[bytes, Agent] = {}
        self.requests: dict[Key, Request] = {}
        self.deadlines: Deadlines[Request] = Deadlines()
        self.stops: Deadlines[Stop] = Deadlines()
        self.quarantine = Quarantine()
        self.sessions: dict[bytes, Session] = {}
        self.lives: Deadlines[Session] = Deadlines()
        """When sessions may have run out: each reply moves that, which is found out when the old time comes."""
        self.freed: list[Session] = []
        """Sessions whose current request is done with: the next one's turn has come."""
        self.size = 0
        """Bytes of the arguments in `requests`."""
        self.admitted = 0
        self.unknown_pools = 0
        """Requests for a pool that there is not."""
        self.tickets = 0
        self.hold_until = math.inf
        """When the first batch that waits for more has waited long enough."""
        self.stacked: dict[Worker, Key | None] = {}
        """Workers that hold more than they run, and what they ran when they were last looked at."""
        self.look_at = 0.0
        self.retiring: dict[Worker, None] = {}
        """Workers that are to go once they hold nothing."""
        self.retirements: Deadlines[Retirement] = Deadlines()
        """When they have to go all the same."""
        self.rounds_at = now
        """When sizes are thought over and workers are checked next."""
        self.checks = 0
        self.deaths = Deaths()
        self.draining = False
        self.leaving = False
        """Whether it is about to drain: it is not ready for new callers, and still serves those who come."""
        self.squeezed = False
        """Whether the process has so little memory left that nothing new is taken on."""
        self.observed: dict[str, Any] = {}
        """What the shell says of its process: memory, descriptors, connections."""
        self.counts: dict[str, int] = {}
        self.ended: list[Ended] = []
        """Requests that this step has ended, until its end: their time is counted then."""
        self.journeys: list[Journey] = []
        """Those to which something has happened in this step."""
        self._first_span = int.from_bytes(settings.epoch[:8])
        self._spans = 0
        self.detections = {means: Histogram() for means in MEANS}
        """By means: seconds from a worker's last sign of life until its death was known."""
        self.out: list[Effect] = []

    def go_by(self, policy: Policy) -> None:
        """Look people up there from now on. Those who are here already are for `adoption`."""
        self.policy = policy
        self.principals = {one.name: one for one in policy.keys.values()}
        self._calls.clear()

    def calls_of(self, principal: Principal) -> Calls | None:
        """What somebody may call; None: everything."""
        if calls_anything(principal):
            return None
        found = self._calls.get(principal)
        if found is None:
            found = self._calls[principal] = Calls(principal)
        return found

    def account_of(self, name: str) -> Account | None:
        """The account of a principal that has a key; None where there is nobody of that name (any more)."""
        account = self.accounts.get(name)
        if account is None and (principal := self.principals.get(name)) is not None:
            account = self.accounts[name] = Account(name, self.settings.client(name), MAX_RETRIES, principal)
        return account

    def agent_of(self, worker: Worker) -> Agent | None:
        """The parent of a worker, where one is connected that answers for it."""
        return next((agent for agent in self.agents.values() if worker.id in agent.workers), None)

    def agents_of(self, pool: Pool) -> list[Agent]:
        """Of a pool, in the order in which they came."""
        return [agent for agent in self.agents.values() if agent.pool is pool]

    def send(self, peer: Peer, message: messages.Message, body: Sequence[Any] = ()) -> None:
        """Have the shell send a message."""
        self.out.append(Send(peer, message, body))

    def note(self, event: str, **fields: Any) -> None:
        """Tell whoever listens, and count it."""
        self.counts[event] = self.counts.get(event, 0) + 1
        self.out.append(Note(event, fields))

    def note_own(self, event: str, fields: dict[str, Any]) -> None:
        """Tell of an event of an application: whose fields are its own. All of them are counted as one."""
        self.counts[COUNTED_AS] = self.counts.get(COUNTED_AS, 0) + 1
        self.out.append(Note(event, fields))

    def detect(self, worker: Worker, means: str, now: float) -> None:
        """Count how long a death may have gone unnoticed."""
        if means in self.detections:  # whose key was withdrawn need not be dead
            self.detections[means].observe(now - max(worker.heard_at, worker.vouched_at))

    def refuse(
        self,
        peer: Peer,
        request_id: int,
        code: Code,
        text: str,
        details: Mapping[str, Any] | None = None,
        level: int = messages.LEVEL_OK,
    ) -> None:
        """Answer with an error. None-valued details are left out: what is not known is not said."""
        known = {key: value for key, value in (details or {}).items() if value is not None}
        self.send(peer, messages.Error(request_id, code, text[: limits.MAX_TEXT_CHARS], level), encode_body(known))

    def fail(self, request: Request, code: Code, text: str, details: Mapping[str, Any]) -> None:
        """Answer a request with an error. It has been closed."""
        self.end(request, code)
        self.refuse(request.peer, request.key[1], code, text, details, request.pool.level)

    def end(self, request: Request, code: str) -> None:
        """Have it counted how one ended that no worker has answered."""
        self.ended.append(Ended(request.pool.meters, code, request.received_at))
        if request.journey is not None:
            request.journey.end(code)

    def new_span(self) -> str:
        """Name a span, as 16 hexadecimal digits: another one each time, in each life of a broker."""
        self._spans += 1
        return f"{(self._first_span + self._spans * SPAN_STEP) % 2**64 or 1:016x}"

    def turn_away(
        self, peer: Peer, request_id: int, pool: Pool, code: Code, text: str, details: Mapping[str, Any] | None = None
    ) -> None:
        """Refuse a request, which was not accepted, with an error; `details` as `refuse` takes them."""
        add(pool.meters.refused, code)
        if code is Code.RESOURCE_EXHAUSTED and details is not None:
            add(pool.meters.sheds, details["reason"])
        self.refuse(peer, request_id, code, text, details, pool.level)
