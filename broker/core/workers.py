"""Workers: registration, heartbeats, suspicion, and what is done when one is gone.

Death is what an agent reports (DIED, see `agents`), or what silence means where no agent can say: a worker that is silent,
and for which nobody vouches, is suspect (no new work), then fenced by its agent, and only then given up.
"""

from __future__ import annotations

from collections.abc import Sequence

from maitred.broker.core.agent import Agent
from maitred.broker.core.books import forget_abandoned
from maitred.broker.core.dispatch import Dispatcher
from maitred.broker.core.effects import Peer
from maitred.broker.core.introductions import Introductions
from maitred.broker.core.model import Key, Request, Worker
from maitred.broker.core.owners import Owners
from maitred.broker.core.policy import Principal
from maitred.broker.core.pool import Pool
from maitred.broker.core.retiring import Retiring
from maitred.broker.core.running import running_s
from maitred.broker.core.state import Control, State
from maitred.broker.core.words import death_fields
from maitred.protocol import messages
from maitred.protocol.errors import Code


class Workers:
    """The verbs of a worker."""

    def __init__(
        self, state: State, introductions: Introductions, dispatcher: Dispatcher, owners: Owners, retiring: Retiring
    ) -> None:
        self._state = state
        self._introductions = introductions
        self._dispatcher = dispatcher
        self._owners = owners
        self._retiring = retiring

    # --- coming ---

    def register(self, peer: Peer, message: messages.Register, now: float, user: str = "") -> None:
        """A worker is ready: for the first time, or again over a new connection."""
        principal = self._introductions.find(peer, user, message.secret)
        if principal is None:
            return
        pool = self._state.pools.get(message.pool)
        if pool is None:
            self.refuse(peer, f"no pool {message.pool!r}; there are: {', '.join(sorted(self._state.pools))}")
            return
        if not self._introductions.serves(peer, principal, pool.name):
            return
        party = self._state.parties.get(peer)
        if party is not None and not (isinstance(party, Worker) and party.id == message.worker):
            self.refuse(peer, "this connection is already that of another worker, or of an agent")
            return
        worker = self._state.workers.get(message.worker)
        if worker is None:
            worker = self._enrol(peer, message, pool, principal, now)
        elif worker.token != message.token or worker.pool is not pool or not worker.principal.is_same(principal):
            self.refuse(peer, "a worker of this id is registered with another token, pool or key")
            return
        elif worker.peer == peer:  # said twice: what it does not name is on its way to it, and nothing was lost
            worker.suspect = worker.overdue
        else:
            self._rebind(worker, peer, set(message.holds))
        self._describe(worker, message)
        worker.principal, worker.user = principal, user
        worker.heard_at = now
        self.welcome(peer)
        pool.ready.place(worker)
        self._owners.house(pool, now)
        self._dispatcher.dispatch(pool, now)

    def _enrol(self, peer: Peer, message: messages.Register, pool: Pool, principal: Principal, now: float) -> Worker:
        worker = Worker(message.worker, message.token, pool, peer, message.slots, now)
        worker.principal = principal
        for agent in self._state.agents.values():
            if not agent.principal.is_same(principal):
                agent.workers.pop(worker.id, None)  # it said so of a worker that is not its own
        self._state.workers[worker.id] = worker
        self._state.parties[peer] = worker
        pool.workers[worker.id] = worker
        pool.starting.pop(worker.id, None)
        pool.degraded = ""
        for key in message.holds:  # from an earlier life of the broker: nobody waits here for its reply
            worker.abandoned[key] = None
        self._state.note("worker.started", pool=pool.name, worker=worker.id.hex(), pid=message.pid, host=message.host)
        return worker

    def _rebind(self, worker: Worker, peer: Peer, holds: set[Key]) -> None:
        """The same worker over another connection; what it does not hold was lost with the old one."""
        self._state.parties.pop(worker.peer, None)
        worker.peer = peer
        worker.suspect = worker.overdue = False
        worker.check = None  # it went to the other connection
        self._state.parties[peer] = worker
        certificate = messages.Certificate("heartbeat", worker=worker.id.hex(), host=worker.host, pid=worker.pid)
        for request in _in_order(worker):
            if request.key not in holds:
                self._dispatcher.retry_or_fail(request, certificate)
        for key in [key for key in worker.abandoned if key not in holds]:
            forget_abandoned(self._state, worker, key)
        self._state.note("worker.reconnected", pool=worker.pool.name, worker=worker.id.hex())

    def _describe(self, worker: Worker, message: messages.Register) -> None:
        worker.slots = message.slots
        worker.prefetch = message.prefetch
        worker.commands = {info.name: info for info in message.commands}
        worker.pool.catalogue()
        worker.host = message.host
        worker.pid = message.pid
        worker.bundles = message.bundles
        clock = self._state.settings.clock
        worker.same_clock = bool(clock) and message.clock == clock

    def attach(self, peer: Peer, message: messages.Attach, now: float, user: str = "") -> None:
        """Bind a worker's second connection; one that comes before its REGISTER is asked to come again."""
        principal = self._introductions.find(peer, user, "")
        if principal is None:
            return
        worker = self._state.workers.get(message.worker)
        if worker is None:
            self._state.send(peer, messages.Stranger())
            return
        if worker.token != message.token or worker.principal.account != principal.account:
            self.refuse(peer, "the token, or the key, is not that of the worker's registration")
            return
        if isinstance(self._state.parties.get(peer), Worker | Agent):
            self.refuse(peer, "ATTACH belongs on a second connection")
            return
        if worker.control is not None:
            self._state.parties.pop(worker.control, None)
        worker.control = peer
        worker.heard_at = now
        for request in worker.held.values():
            if request.cancelled:  # the word, or its answer, may have been lost with the other connection
                self._state.send(peer, messages.WorkerCancel(*request.key, request.cancelled))
            if request.recalled:
                self._dispatcher.recall(worker, request)
        for key in worker.abandoned:
            self._state.send(peer, messages.WorkerCancel(*key, "cancelled"))
        self._state.parties[peer] = Control(worker, principal, user)
        self.welcome(peer)

    def welcome(self, peer: Peer) -> None:
        """Answer whoever introduced himself."""
        it = self._state.settings
        welcome = messages.Welcome(
            it.epoch,
            it.heartbeat_interval_s,
            it.heartbeat_liveness,
            it.max_message_bytes,
            it.software,
            bundles=True,
            events=True,
        )
        self._state.send(peer, welcome)

    def refuse(self, peer: Peer, text: str) -> None:
        """Answer whoever may not be what he says he is."""
        self._state.note("protocol.refused", reason=text)
        self._state.refuse(peer, -1, Code.PROTOCOL_ERROR, text)

    # --- staying ---

    def heard(self, worker: Worker, now: float) -> None:
        """Any traffic is a sign of life."""
        worker.heard_at = now
        if worker.suspect and not worker.overdue:
            worker.suspect = False
            worker.pool.ready.place(worker)
            self._state.note("worker.recovered", pool=worker.pool.name, worker=worker.id.hex())
            self._dispatcher.dispatch(worker.pool, now)

    def beat(self, worker: Worker, peer: Peer, message: messages.Beat, now: float) -> None:
        """Take down how a worker does, and answer."""
        worker.rss = message.rss
        worker.cpu = message.cpu
        worker.lag_s = message.lag
        worker.at = None if message.request is None else (message.request, now - message.ran)
        self._state.send(peer, messages.Heartbeat())

    # --- going ---

    def leave(self, worker: Worker, now: float) -> None:
        """A worker goes in good order: what it was sent and did not begin may run elsewhere."""
        held = _in_order(worker)
        self._forget(worker)
        certificate = messages.Certificate("drain", worker=worker.id.hex(), host=worker.host, pid=worker.pid)
        self._owners.bereave(worker, "drain", certificate, now)
        for request in held:
            if request.session is not None:
                self._owners.orphan(request, False, certificate)
            else:
                self._dispatcher.requeue(request)
        why = None if worker.retirement is None else worker.retirement.cause
        self._state.note("worker.left", pool=worker.pool.name, worker=worker.id.hex(), cause=why)
        self._owners.house(worker.pool, now)
        self._dispatcher.dispatch(worker.pool, now)

    def lose(
        self, worker: Worker, certificate: messages.Certificate, started: set[Key] | None, means: str, now: float
    ) -> None:
        """A worker is gone. What it had begun is retried or failed, what it had not begun just waits again.

        Args:
            worker: which.
            certificate: why.
            started: the keys of what it had begun; None where nobody can tell.
            means: how it was found out: "agent", "silence" or "connection".
            now: the core's time.
        """
        held = _in_order(worker)
        worker.pool.pace.busy_s += running_s(worker, now)
        self._forget(worker)
        self._owners.bereave(worker, "lost", certificate, now)
        for request in held:
            begun = started is None or request.key in started
            if begun and (
                request.batch is None or request.batch.size == 1
            ):  # else nobody can tell which of them it was
                self._blame(request, certificate, now)
            if request.session is not None:
                self._owners.orphan(request, begun, certificate)
            elif begun:
                self._dispatcher.retry_or_fail(request, certificate)
            else:
                self._dispatcher.requeue(request)
        pool = worker.pool
        if self._state.deaths.add(worker.id, pool, certificate, now, worker.principal.account):
            self._state.note("worker.died", **death_fields(worker.id, pool, certificate, means))
            self._state.detect(worker, means, now)
        self._owners.house(pool, now)
        self._dispatcher.dispatch(pool, now)

    def _blame(self, request: Request, certificate: messages.Certificate, now: float) -> None:
        if not request.cancelled and (entry := self._state.quarantine.died(request, certificate, now)) is not None:
            self._state.note(
                "request.quarantine", pool=entry.pool, command=entry.command, fingerprint=entry.fingerprint,
                deaths=entry.deaths,
            )  # fmt: skip

    def _forget(self, worker: Worker) -> None:
        worker.draining = True
        self._retiring.forget(worker)
        worker.pool.ready.remove(worker)
        del worker.pool.workers[worker.id]
        worker.pool.catalogue()
        del self._state.workers[worker.id]
        self._state.stacked.pop(worker, None)
        self._state.parties.pop(worker.peer, None)
        if worker.control is not None:
            self._state.parties.pop(worker.control, None)

    # --- silence ---

    def sweep(self, now: float) -> None:
        """Look for those who have been silent too long."""
        limit = self._state.settings.worker_silence_s
        for worker in list(self._state.workers.values()):
            if now - max(worker.heard_at, worker.vouched_at) > limit:
                self._suspect(worker, now)

    def forgive(self, now: float) -> None:
        """The broker itself was not running: whoever was silent meanwhile is not to blame."""
        for worker in self._state.workers.values():
            worker.heard_at = now
            if worker.check is not None:
                worker.check = (worker.check[0], now)

    def _suspect(self, worker: Worker, now: float) -> None:
        agent = self._state.agent_of(worker)
        if agent is None:
            self.lose(worker, self._silent(worker), None, "silence", now)
            return
        if not worker.suspect:
            worker.suspect = True
            worker.pool.ready.place(worker)
            self._state.note("worker.suspect", pool=worker.pool.name, worker=worker.id.hex())
        self._state.send(agent.peer, messages.Fence(worker.id))

    def _silent(self, worker: Worker) -> messages.Certificate:
        return messages.Certificate(
            "heartbeat", worker=worker.id.hex(), pid=worker.pid, host=worker.host, served=worker.served
        )

    def lose_control(self, worker: Worker, peer: Peer, unsent: Sequence[messages.Message]) -> None:
        """Its second connection is closed: what was to be said there is said on the first."""
        self._state.parties.pop(peer, None)
        worker.control = None
        for message in unsent:
            if isinstance(message, messages.WorkerCancel | messages.WorkerGrant):
                self._state.send(worker.peer, message)

    def unreachable(self, worker: Worker, unsent: Sequence[messages.Message], now: float) -> None:
        """Its connection is closed. An undelivered order never began; the rest waits for word of the worker."""
        for message in unsent:
            if isinstance(message, messages.Dispatch):
                self._take_back(worker, message)
        agent = self._state.agent_of(worker)
        if agent is None:
            self.lose(worker, self._silent(worker), None, "connection", now)
            return
        worker.suspect = True
        worker.pool.ready.place(worker)
        self._dispatcher.dispatch(worker.pool, now)

    def _take_back(self, worker: Worker, order: messages.Dispatch) -> None:
        request = worker.held.get((order.client, order.id))
        if request is not None:
            self._dispatcher.requeue(request)
        else:  # it ran out of time on its way
            forget_abandoned(self._state, worker, (order.client, order.id))


def _in_order(worker: Worker) -> list[Request]:
    return sorted(worker.held.values(), key=lambda request: request.admitted)
