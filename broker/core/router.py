"""The broker as a state machine: messages and the time in, effects out.

    receive(peer, frames, now) · tick(now) · next_deadline() · undeliverable(peer, message, now)
    drain(now) · end_drain(now)

No socket, no clock, no randomness, no log. The time is any number of seconds that never runs backwards. Whatever comes
in over the wire ends in effects; an exception that leaves this class is a bug.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from maitred.broker.core.admission import Admission
from maitred.broker.core.adoption import Adoption
from maitred.broker.core.agent import Agent
from maitred.broker.core.agents import Agents
from maitred.broker.core.books import judge
from maitred.broker.core.checks import check
from maitred.broker.core.clients import Clients
from maitred.broker.core.dispatch import Dispatcher
from maitred.broker.core.effects import Drained, Effect, Event, Peer, Reload, Side, Traced
from maitred.broker.core.endings import Endings
from maitred.broker.core.fleet import Fleet
from maitred.broker.core.health import Health
from maitred.broker.core.introductions import Introductions
from maitred.broker.core.journey import conclude
from maitred.broker.core.listeners import Listeners
from maitred.broker.core.majordomo import Majordomo
from maitred.broker.core.majordomo_clients import MajordomoClients
from maitred.broker.core.majordomo_workers import MajordomoWorkers
from maitred.broker.core.meters import count_ended
from maitred.broker.core.model import Client, Worker
from maitred.broker.core.operations import Operations
from maitred.broker.core.own_events import tell
from maitred.broker.core.owners import Owners
from maitred.broker.core.policy import Policy, in_short
from maitred.broker.core.pool_operations import SHUTTING_DOWN, PoolOperations
from maitred.broker.core.readiness import watch
from maitred.broker.core.requests import Requests
from maitred.broker.core.resuming import Resuming
from maitred.broker.core.retiring import Retiring
from maitred.broker.core.sessions import Sessions
from maitred.broker.core.settings import CoreSettings
from maitred.broker.core.state import Control, State
from maitred.broker.core.tables import TABLES
from maitred.broker.core.whole import bounded
from maitred.broker.core.workers import Workers
from maitred.protocol import frames, messages
from maitred.protocol.body import encode_body
from maitred.protocol.errors import Code, ProtocolError

_BY_CONTROL = (
    messages.Beat | messages.WorkerEvent | messages.Heartbeat | messages.Returned | messages.Leave | messages.Bye
)

LATE_INTERVALS = 2.0
"""A tick later than so many heartbeat intervals means that the broker itself stood still (a suspended machine)."""


class BrokerCore:
    """Routes. See the module's docstring for its verbs."""

    def __init__(self, settings: CoreSettings, now: float) -> None:
        self.state = State(settings, now)
        introductions = Introductions(self.state)
        self._endings = Endings(self.state)
        self._dispatcher = Dispatcher(self.state, self._endings)
        self._requests = Requests(self.state, self._dispatcher)
        self._owners = Owners(self.state, self._dispatcher, self._endings)
        self._sessions = Sessions(self.state, self._endings, self._owners)
        self._resuming = Resuming(self.state, self._endings, self._owners, self._sessions)
        self._retiring = Retiring(self.state)
        self._fleet = Fleet(self.state, self._retiring)
        self._health = Health(self.state, self._dispatcher, self._retiring)
        self._workers = Workers(self.state, introductions, self._dispatcher, self._owners, self._retiring)
        self._agents = Agents(self.state, introductions, self._workers, self._fleet, self._retiring)
        admission = Admission(self.state, self._dispatcher, self._sessions)
        pools = PoolOperations(self.state, self._dispatcher, self._owners, self._fleet, self._retiring)
        self._listeners = Listeners(self.state)
        self._operations = operations = Operations(self.state, self._endings, pools)
        self._clients = Clients(
            self.state,
            introductions,
            admission,
            self._requests,
            self._endings,
            self._sessions,
            self._workers,
            operations,
            self._listeners,
        )
        self._adoption = Adoption(self.state, self._clients, self._workers, self._agents, self._sessions, self._endings)
        self._majordomo = Majordomo(
            self.state,
            MajordomoClients(self.state, self._clients, self._requests, self._dispatcher),
            MajordomoWorkers(self.state, self._workers, self._requests, self._dispatcher, self._health),
        )
        self._sweep_at = now + settings.heartbeat_interval_s
        self._drain_by: float | None = None
        self._drained = False
        self._rewording = False

    def receive(self, peer: Peer, message_frames: Sequence[Any], now: float, user: str = "") -> list[Effect]:
        """Act on one message. Broken ones are counted and answered with `protocol_error`.

        `user` says whose connection it is (see `policy`); it counts with the first message, and whenever a peer introduces
        itself.
        """
        if self.state.majordomo and peer in self.state.majordomo:
            party = self.state.parties.get(peer)
            if user and party is not None and party.user != user:
                self.state.note("auth.refused", side=peer.side.name.lower(), user=in_short(user))
            else:
                self._majordomo.receive(peer, message_frames, now, user)
            return self._effects(now)
        if (self.state.departed and peer in self.state.departed) or (
            user and self._is_anothers(peer, message_frames, user)
        ):
            self.state.note("auth.refused", side=peer.side.name.lower(), user=in_short(user))
            return self._effects(now)  # it goes by the name of a connection that is not its own, and is told nothing
        try:
            if peer.side is Side.CLIENTS:
                message, body = frames.from_client.decode(message_frames)
                self._from_client(peer, message, body, now, user)
            else:
                order, body = frames.from_worker.decode(message_frames)
                if len(body) > 1:
                    order, body = bounded(order, body, self.state.settings.max_message_bytes)
                self._from_worker(peer, order, body, now, user)
        except ProtocolError as error:
            if self._majordomo.takes(peer, message_frames):  # not sooner: what is ours pays nothing for it
                self._majordomo.receive(peer, message_frames, now, user)
            else:
                reason = _at_the_wrong_side(peer.side, message_frames) or error.message
                self.state.note("protocol.error", side=peer.side.name.lower(), reason=reason)
                self.state.refuse(peer, -1, Code.PROTOCOL_ERROR, reason[:1024])
        return self._effects(now)

    def happened(self, events: Iterable[Event], now: float) -> list[Effect]:
        """Tell those who listen (`CoreSettings.recent` has what was before)."""
        self._listeners.happened(events)
        return self._effects(now)

    def tick(self, now: float) -> list[Effect]:
        """Do what is due. To be called at `next_deadline`, or whenever."""
        for request in self.state.deadlines.due(now):
            self._endings.expire(request, now)
        for stop in self.state.stops.due(now):
            self._endings.insist(stop, now)
        for session in self.state.lives.due(now):
            self._sessions.expire(session, now)
        for retirement in self.state.retirements.due(now):
            self._retiring.expire(retirement)
        if self.state.majordomo:
            self._majordomo.tick(now)
        if now >= self._sweep_at:
            self._sweep(now)
        if self._drain_by is not None and now >= self._drain_by:
            self._drain_by = None
            for request in list(self.state.requests.values()):
                self._endings.fail_unavailable(request, "draining", "the broker shut down before it was done", now)
        if self.state.stacked and now >= self.state.look_at:
            self._dispatcher.look(now)
        self.state.hold_until = math.inf
        for pool in self.state.pools.values():
            self._dispatcher.dispatch(pool, now)
            if pool.level:
                judge(self.state, pool, now)
        if now >= self.state.rounds_at:
            self.state.rounds_at = min(self._fleet.look(now), self._health.look(now))
        return self._effects(now)

    def next_deadline(self) -> float:
        """When `tick` has something to do, at the latest."""
        state = self.state
        wake = min(
            self._sweep_at, state.hold_until, state.rounds_at,
            state.deadlines.soonest, state.stops.soonest, state.lives.soonest,
        )  # fmt: skip
        if state.stacked:
            wake = min(wake, state.look_at)
        if state.retiring:
            wake = min(wake, state.retirements.soonest)
        if state.majordomo:
            wake = min(wake, self._majordomo.next_deadline())
        return wake if self._drain_by is None else min(wake, self._drain_by)

    def undeliverable(self, peer: Peer, message: messages.Message, now: float) -> list[Effect]:
        """A message could not be sent: the peer's connection is gone, or it reads too slowly."""
        return self.all_undeliverable(peer, (message,), now)

    def adopt(self, policy: Policy, now: float) -> list[Effect]:
        """Go by another policy from now on: who may no longer be here is told so, and what he waited for is given up."""
        self._adoption.adopt(policy, now)
        return self._effects(now)

    def may_enter(self, user: str, side: Side) -> bool:
        """Whether a handshake makes sense: whether this user may do anything on that side as things stand."""
        return self.state.policy.may_enter(user, side)

    def reloaded(self, reload: Reload, done: dict[str, Any] | str, now: float) -> list[Effect]:
        """The shell has read the policy's file, and had it adopted: what was done, or a sentence that says why not."""
        if isinstance(done, str):
            self.state.refuse(reload.peer, reload.id, Code.INVALID_ARGUMENT, done, {"argument": "verb"})
        else:
            self.state.send(reload.peer, messages.Reply(reload.id), encode_body(done))
        return self._effects(now)

    def squeeze(self, on: bool) -> None:
        """Whether the process is short of memory: then requests and sessions are refused, with `broker_memory`."""
        self.state.squeezed = on

    def observe(self, **numbers: Any) -> None:
        """What the table of the broker is to say of its process, as `limits`."""
        self.state.observed.update(numbers)

    def witness(self, event: str, now: float, **fields: Any) -> list[Effect]:
        """Tell of something that the shell saw, and count it."""
        self.state.note(event, **fields)
        return self._effects(now)

    def all_undeliverable(self, peer: Peer, unsent: Sequence[messages.Message], now: float) -> list[Effect]:
        """None of these could be sent, oldest first: known all at once, as a peer that is lost for one is lost for all."""
        match self.state.parties.get(peer):
            case Client() as client:
                self._clients.lose(client, "its connection is closed or it does not read", now)
            case Worker() as worker:
                self._workers.unreachable(worker, unsent, now)
            case Control(worker=worker):
                self._workers.lose_control(worker, peer, unsent)
            case Agent() as agent:
                self._agents.lose(agent)
            case None:
                pass
        if peer in self.state.majordomo:
            self._majordomo.hung_up(peer, now)
        return self._effects(now)

    def speaks_majordomo(self, peer: Peer) -> bool:
        """Whether a connection is known as one that speaks Majordomo's protocol: its end is worth knowing."""
        return peer in self.state.majordomo

    def may_bundle(self, peer: Peer) -> bool:
        """Whether a peer may be sent several messages in one."""
        party = self.state.parties.get(peer)
        return isinstance(party, Client | Worker) and party.bundles

    def hung_up(self, peer: Peer, now: float) -> list[Effect]:
        """A connection has ended: a client's is lost with it. Of workers and agents their deaths are told by agents, or by
        silence; but nobody speaks for them by that name any more, as the next peer may choose it.

        The end of one that speaks Majordomo's protocol is its death, whichever it is.
        """
        party = self.state.parties.get(peer)
        if isinstance(party, Client):
            self._clients.lose(party, "its connection has ended", now)
        elif party is not None and peer not in self.state.majordomo:
            self.state.departed[peer] = None
        if peer in self.state.majordomo:
            self._majordomo.hung_up(peer, now)
        return self._effects(now)

    def leave(self) -> None:
        """It is about to drain: `readiness` says so from now on, and nothing else changes."""
        self.state.leaving = True

    def drain(self, now: float) -> list[Effect]:
        """Admit nothing more; answer `unavailable` to what will not get done in time, wait for the rest."""
        budget = self.state.settings.drain_timeout_s
        self.state.draining = True
        self._drain_by = now + budget
        self.state.note("broker.draining", requests=len(self.state.requests))
        for pool in self.state.pools.values():
            pool.closed = SHUTTING_DOWN
            slots = 0 if pool.paused else sum(worker.slots for worker in pool.workers.values() if not worker.suspect)
            means_s = pool.pace.means_s
            fits = int(slots * budget / means_s[1]) - pool.held if means_s and means_s[1] else 0
            parked = [
                request for session in pool.sessions.values() for request in session.requests if not request.worker
            ]
            for place, request in enumerate([*pool.queue, *parked]):
                if place >= max(fits, 0):
                    self._endings.fail_unavailable(request, "draining", "the broker is shutting down", now)
        return self._effects(now)

    def end_drain(self, now: float) -> list[Effect]:
        """A drain's time is over: whatever it still waits for is answered `unavailable`."""
        self._drain_by = now
        return self.tick(now)

    def table(self, what: str, now: float) -> Any:
        """What QUERY would be told: rows of "pools" or "workers", or the map "broker"."""
        return TABLES[what](self.state, now)

    def operate(
        self, verb: str, target: str, software: str, principal: str, now: float
    ) -> tuple[dict[str, Any] | str, list[Effect]]:
        """Do what an operator wants who is no peer: what was done, or a sentence that says why not, and what to send."""
        done = self._operations.carry_out(verb, target, software, principal, now)
        return done, self._effects(now)

    def desired(self, pool: str, now: float) -> int:
        """How many workers would do for the load of a pool that exists."""
        return self._fleet.desired(self.state.pools[pool], now)

    # --- who may say what ---

    def _is_anothers(self, peer: Peer, message_frames: Sequence[Any], user: str) -> bool:
        """Whether the party behind this name came as another user. A HELLO may take its place."""
        party = self.state.parties.get(peer)
        return party is not None and party.user != user and not frames.is_hello(message_frames)

    def _from_client(
        self, peer: Peer, message: messages.FromClient, body: Sequence[Any], now: float, user: str
    ) -> None:
        party = self.state.parties.get(peer)
        if isinstance(party, Client):
            self._clients.receive(party, message, body, now, user)
        elif isinstance(message, messages.Hello):
            self._clients.hello(peer, message, now, user)
        elif not isinstance(message, messages.Bye):
            self.state.send(peer, messages.Stranger())

    def _from_worker(
        self, peer: Peer, message: messages.FromWorker, body: Sequence[Any], now: float, user: str
    ) -> None:
        party = self.state.parties.get(peer)
        if isinstance(message, messages.WorkerReply) and isinstance(party, Worker):  # nearly always
            self._workers.heard(party, now)
            self._requests.finish(party, message, body, now)
            return
        if peer.side is Side.MAJORDOMO:
            raise ProtocolError("a message of ours")
        match message:
            case messages.Register():
                self._workers.register(peer, message, now, user)
            case messages.Attach():
                self._workers.attach(peer, message, now, user)
            case messages.Agent():
                self._agents.enrol(peer, message, now, user)
            case _:
                self._from_party(peer, party, message, body, now)

    def _from_party(
        self, peer: Peer, party: Any, message: messages.FromWorker, body: Sequence[Any], now: float
    ) -> None:
        match party:
            case Worker():
                self._workers.heard(party, now)
                self._from_registered(peer, party, message, body, now)
            case Control(worker=worker):
                if not isinstance(
                    message, _BY_CONTROL
                ):  # whoever knows the token has the worker's life, not its answers
                    raise ProtocolError(f"{type(message).__name__} does not belong on a worker's second connection")
                self._workers.heard(worker, now)
                self._from_registered(peer, worker, message, body, now)
            case Agent():
                party.heard_at = now
                self._from_agent(party, message, now)
            case _:
                if not isinstance(message, messages.Bye):
                    self.state.send(peer, messages.Stranger())

    def _from_registered(
        self, peer: Peer, worker: Worker, message: messages.FromWorker, body: Sequence[Any], now: float
    ) -> None:
        match message:
            case messages.WorkerReply() | messages.WorkerError():
                self._requests.finish(worker, message, body, now)
            case messages.WorkerPart():
                self._requests.relay(worker, message, body)
            case messages.Returned():
                self._dispatcher.returned(worker, message, now)
            case messages.Snapshot():
                self._owners.keep(worker, message, body)
            case messages.SessionHeld():
                self._resuming.held(worker, message, body, now)
            case messages.SessionFailed():
                self._owners.fail(worker, message, now)
            case messages.WorkerEvent():
                tell(self.state, worker, message, now)
            case messages.Beat():
                self._workers.beat(worker, peer, message, now)
            case messages.Checked():
                self._health.checked(worker, message, now)
            case messages.Heartbeat():
                self.state.send(peer, messages.Heartbeat())
            case messages.Leave() | messages.Bye():
                self._workers.leave(worker, now)
            case _:
                raise ProtocolError(f"a worker does not send {type(message).__name__}")

    def _from_agent(self, agent: Agent, message: messages.FromWorker, now: float) -> None:
        match message:
            case messages.Spawned():
                self._agents.spawned(agent, message, now)
            case messages.Vouch():
                self._agents.vouch(agent, message, now)
            case messages.Died():
                self._agents.died(agent, message, now)
            case messages.Report():
                self._agents.report(agent, message)
            case messages.Retire():
                self._agents.retire(agent, message, now)
            case messages.Degraded():
                self._agents.degraded(agent, message)
            case messages.Heartbeat():
                self.state.send(agent.peer, messages.Heartbeat())
            case messages.Bye():
                self._agents.lose(agent, in_good_order=True)
            case _:
                raise ProtocolError(f"an agent does not send {type(message).__name__}")

    # --- time ---

    def _sweep(self, now: float) -> None:
        interval = self.state.settings.heartbeat_interval_s
        if now - self._sweep_at > LATE_INTERVALS * interval:
            self.state.note("broker.stalled", late_s=now - self._sweep_at)
            self._workers.forgive(now)
            self._agents.forgive(now)
            self._clients.forgive(now)
            self._health.forgive(now)
            self._majordomo.forgive(now)
        self._majordomo.sweep(now)
        self._agents.sweep(now)
        self._workers.sweep(now)
        self._retiring.sweep()
        self._fleet.sweep(now)
        self._clients.sweep(now)
        for pool in self.state.pools.values():
            pool.outside.expire(now)
            if pool.homeless:  # the only worker may have been suspect, and be so no more
                self._owners.house(pool, now)
            watch(self.state, pool, now)
        for peer in [peer for peer in self.state.departed if peer not in self.state.parties]:
            del self.state.departed[peer]
        self._sweep_at = now + interval

    def _effects(self, now: float) -> list[Effect]:
        state = self.state
        if state.freed:
            self._owners.advance(now)
        if state.ended:
            count_ended(state.ended, now)
        if state.journeys:
            state.out.extend(map(Traced, conclude(state.journeys, now)))
        if state.retiring:
            self._retiring.look()
        if state.draining and not state.requests and not self._drained:
            self._drained = True
            self._listeners.end()
            state.out.append(Drained())
        out, state.out = state.out, []
        return self._reworded(out, now) if state.majordomo and not self._rewording else out

    def _reworded(self, out: list[Effect], now: float) -> list[Effect]:
        """What is said to peers of Majordomo's protocol, in their words."""
        done: list[Effect] = []
        self._rewording = True
        while out:  # to put something into other words may end a request, and free its worker for the next one
            done += self._majordomo.translate(out, now)
            out = self._effects(now)
        self._rewording = False
        return done

    def check(self) -> None:
        """Recompute everything that is derived. Called by tests after each step; raises AssertionError."""
        check(self.state)
        self._majordomo.check()


def _at_the_wrong_side(side: Side, message_frames: Sequence[Any]) -> str:
    """What to tell who says there what belongs to the other endpoint; "": it belongs nowhere."""
    other = frames.from_worker if side is Side.CLIENTS else frames.from_client
    try:
        other.decode(message_frames)
    except ProtocolError:
        return ""
    if side is Side.CLIENTS:
        return (
            "this is the clients' endpoint: workers and agents connect to `workers` of [broker], port 5751 by default"
        )
    return "this is the workers' endpoint: clients connect to `clients` of [broker], port 5750 by default"
