"""Agents: the parents of workers, who know of their deaths, see what they take, and start as many as they are told to."""

from __future__ import annotations

import msgspec

from maitred.broker.core.agent import Agent, Starting
from maitred.broker.core.effects import Peer
from maitred.broker.core.fleet import Fleet
from maitred.broker.core.introductions import Introductions
from maitred.broker.core.model import Worker
from maitred.broker.core.retiring import Retiring
from maitred.broker.core.state import Control, State
from maitred.broker.core.words import death_fields
from maitred.broker.core.workers import Workers
from maitred.protocol import limits, messages


class Agents:
    """The verbs of an agent."""

    def __init__(
        self, state: State, introductions: Introductions, workers: Workers, fleet: Fleet, retiring: Retiring
    ) -> None:
        self._state = state
        self._introductions = introductions
        self._workers = workers
        self._fleet = fleet
        self._retiring = retiring

    # --- coming ---

    def enrol(self, peer: Peer, message: messages.Agent, now: float, user: str = "") -> None:
        """An agent introduces itself, for the first time or again."""
        state = self._state
        principal = self._introductions.find(peer, user, message.secret)
        if principal is None:
            return
        pool = state.pools.get(message.pool)
        if pool is None:
            self._workers.refuse(peer, f"no pool {message.pool!r}; there are: {', '.join(sorted(state.pools))}")
            return
        if not self._introductions.serves(peer, principal, pool.name, as_agent=True):
            return
        if isinstance(state.parties.get(peer), Worker | Control):
            self._workers.refuse(peer, "this connection is already that of a worker")
            return
        old = state.agents.get(message.agent)
        if old is not None and not old.principal.is_same(principal):
            self._workers.refuse(peer, "an agent of this id has introduced itself with another key")
            return
        agent = Agent(message.agent, pool, peer, message.host, message.pid, now)
        agent.least, agent.most = message.least, max(message.least, message.most)
        agent.memory, agent.gpus = message.memory, message.gpus
        agent.principal, agent.user = principal, user
        if old is not None:
            state.parties.pop(old.peer, None)
            agent.workers = old.workers
            for starting in pool.starting.values():
                if starting.agent is old:
                    starting.agent = agent
        state.agents[agent.id] = agent
        state.parties[peer] = agent
        self._workers.welcome(peer)
        state.note("agent.started", pool=pool.name, host=message.host, pid=message.pid)
        self._fleet.introduce(agent, old, message.size)

    # --- what it says of its workers ---

    def spawned(self, agent: Agent, message: messages.Spawned, now: float) -> None:
        """A process was started; it counts as starting until it registers."""
        if not self._may_speak_of(agent, message.worker):
            return
        if len(agent.workers) >= limits.MAX_AGENT_WORKERS and message.worker not in agent.workers:
            self._state.note("protocol.refused", reason=f"an agent has more than {limits.MAX_AGENT_WORKERS} workers")
            return
        agent.workers[message.worker] = None
        if message.worker not in self._state.workers:
            agent.pool.starting[message.worker] = Starting(agent, message.pid, now)

    def _may_speak_of(self, agent: Agent, worker_id: bytes) -> bool:
        """Whether a worker is of the agent's own principal, or nobody's yet. What it says of others is for nothing."""
        worker = self._state.workers.get(worker_id)
        starting = agent.pool.starting.get(worker_id)
        whose = worker or (starting.agent if starting is not None else None)
        if whose is None or whose.principal.is_same(agent.principal):
            return True
        self._state.note("protocol.refused", reason="an agent spoke of another principal's worker")
        return False

    def vouch(self, agent: Agent, message: messages.Vouch, now: float) -> None:
        """An agent answers for its busy workers."""
        for worker_id in message.workers:
            worker = self._state.workers.get(worker_id)
            if worker is not None and worker_id in agent.workers:
                worker.vouched_at = now
        self._state.send(agent.peer, messages.Heartbeat())

    def report(self, agent: Agent, message: messages.Report) -> None:
        """Take down what its workers take; it sees their children too."""
        for seen in message.workers:
            if seen.worker not in agent.workers:
                continue
            starting = agent.pool.starting.get(seen.worker)
            worker = starting or self._state.workers.get(seen.worker)
            if worker is None:
                continue
            worker.tree_rss = seen.rss or worker.tree_rss
            worker.gpu, worker.gpu_bytes, worker.gpu_use = seen.gpu, seen.gpu_bytes, seen.gpu_use
            if starting is not None:
                starting.spare = seen.spare

    def retire(self, agent: Agent, message: messages.Retire, now: float) -> None:
        """It wants one of its workers to go; one that never came to be, or is gone, may go at once."""
        worker = self._state.workers.get(message.worker)
        if worker is None or message.worker not in agent.workers:
            self._state.send(agent.peer, messages.Dismiss(message.worker, message.cause))
        elif worker.retirement is None:
            self._retiring.retire(worker, message.cause, message.note, now)
        else:
            self._retiring.say_again(worker)

    def degraded(self, agent: Agent, message: messages.Degraded) -> None:
        """It cannot start workers, or it can again."""
        agent.pool.degraded = message.reason
        self._state.note("pool.degraded", pool=agent.pool.name, reason=message.reason)

    def died(self, agent: Agent, message: messages.Died, now: float) -> None:
        """It reports a death, with what the worker had begun."""
        pool, worker_id, certificate = agent.pool, message.worker, message.certificate
        if not self._may_speak_of(agent, worker_id):
            return
        agent.workers.pop(worker_id, None)
        was_starting = pool.starting.pop(worker_id, None) is not None
        worker = self._state.workers.get(worker_id)
        if worker is not None:
            retirement = worker.retirement
            if certificate.note is None and retirement is not None and retirement.note:
                certificate = msgspec.structs.replace(certificate, note=retirement.note)
            started = None if message.started is None else set(message.started)
            self._workers.lose(worker, certificate, started, "agent", now)
        elif self._state.deaths.add(worker_id, pool, certificate, now, agent.principal.account):
            event = "worker.died" if was_starting else "worker.ended"  # it had left, or served another broker
            self._state.note(event, **death_fields(worker_id, pool, certificate, "agent"))

    # --- going ---

    def lose(self, agent: Agent, *, in_good_order: bool = False) -> None:
        """An agent is gone; its workers, if they live, speak for themselves."""
        state = self._state
        state.parties.pop(agent.peer, None)
        if state.agents.get(agent.id) is agent:
            del state.agents[agent.id]
            self._fleet.lose(agent, in_good_order=in_good_order)
        for worker_id in [key for key, value in agent.pool.starting.items() if value.agent is agent]:
            del agent.pool.starting[worker_id]
        state.note("agent.lost", pool=agent.pool.name, host=agent.host)

    def sweep(self, now: float) -> None:
        """Look for those who have been silent too long."""
        limit = self._state.settings.worker_silence_s
        for agent in [a for a in self._state.agents.values() if now - a.heard_at > limit]:
            self.lose(agent)

    def forgive(self, now: float) -> None:
        """The broker itself was not running: whoever was silent meanwhile is not to blame."""
        for agent in self._state.agents.values():
            agent.heard_at = now
            agent.surplus_since = None
