"""The sizes of pools, as their agents keep them: told by the load (see `sizing`), or by a person.

An agent that introduces itself brings its size along, so a broker that is new finds it as it was. One that comes in the
place of another that is gone without a word is told what that one was told last.

Growing: the agent with the most room starts workers. Shrinking: an agent ends those that are not ready yet by itself; of
those that are the broker names whoever is missed least. RESIZE goes before DISMISS: the agent would else replace it.
"""

from __future__ import annotations

import math

import msgspec

from maitred.broker.core.agent import Agent
from maitred.broker.core.model import Worker
from maitred.broker.core.pool import Pool, Vacancy
from maitred.broker.core.retiring import Retiring, least_missed
from maitred.broker.core.sizing import Demand
from maitred.broker.core.state import State
from maitred.protocol import limits, messages

LOOKS = 4
"""Times that a pool's size is thought over in the time after which it grows."""

MIN_LOOK_S = 0.02
MAX_LOOK_S = 1.0

DESIRED_UTILISATION = 0.8
"""What a scaler outside is told suffices keeps its workers busy for this share of their time: with more, requests wait."""

MAX_VACANT = 1024
"""Hosts whose lost agent is remembered, for each pool; the one that was lost first is forgotten."""


class Fleet:
    """The verbs of a size."""

    def __init__(self, state: State, retiring: Retiring) -> None:
        self._state = state
        self._retiring = retiring

    # --- agents that come and go ---

    def introduce(self, agent: Agent, old: Agent | None, said: int) -> None:
        """An agent is here, and keeps `said` workers; `old` is what is known of it from another connection."""
        pool = agent.pool
        agent.size = said
        if old is not None:
            size = old.size
        else:
            vacancy = pool.vacant.get(agent.place)
            size = said
            if vacancy is not None and (vacancy.least, vacancy.most) == (agent.least, agent.most):
                size = pool.vacant.pop(agent.place).size
        self._set_dynamic(pool)
        self._take_over(agent, size)

    def lose(self, agent: Agent, *, in_good_order: bool) -> None:
        """An agent is gone. Another one may be here already in its place, or come; one that says BYE leaves none."""
        pool = agent.pool
        self._set_dynamic(pool)
        if in_good_order:
            return
        heirs = [one for one in self._state.agents_of(pool) if one.place == agent.place and one.since > agent.heard_at]
        if heirs and (heirs[-1].least, heirs[-1].most) == (agent.least, agent.most):
            self._take_over(heirs[-1], agent.size)
            return
        pool.vacant.pop(agent.place, None)
        pool.vacant[agent.place] = Vacancy(agent.size, agent.least, agent.most)
        if len(pool.vacant) > MAX_VACANT:
            del pool.vacant[next(iter(pool.vacant))]

    def _take_over(self, agent: Agent, size: int) -> None:
        if agent.least < agent.most:
            size = min(max(size, agent.least), agent.most)
        if size != agent.size:
            agent.size = size
            self._state.send(agent.peer, messages.Resize(size))

    def _set_dynamic(self, pool: Pool) -> None:
        pool.dynamic = any(agent.least < agent.most for agent in self._state.agents_of(pool))
        if pool.dynamic:
            self._state.rounds_at = -math.inf  # nothing was due before

    # --- by the load ---

    def look(self, now: float) -> float:
        """Think over the sizes of all pools that may change; returns when to do so next."""
        next_at = math.inf
        for pool in self._state.pools.values():
            if not pool.dynamic:
                continue
            if not (pool.paused or pool.degraded or self._state.draining):
                demand = self._demand(pool, now)
                size = pool.sizing.decide(demand, now)
                if size != demand.size:
                    self._apply(pool, size, "queue" if size > demand.size else "idle", now)
            pool.peak = pool.held
            next_at = min(next_at, now + min(max(pool.settings.scale_up_after_s / LOOKS, MIN_LOOK_S), MAX_LOOK_S))
        return next_at

    def _demand(self, pool: Pool, now: float) -> Demand:
        agents = self._state.agents_of(pool)
        size = sum(agent.size for agent in agents)
        slots = max(pool.pace.slots // max(len(pool.workers), 1), 1)
        owners = sum(bool(worker.sessions) and not worker.load for worker in pool.workers.values())
        busy = sum(worker.load > 0 for worker in pool.workers.values())
        oldest = pool.queue.oldest()
        came = [] if oldest is None else [oldest.received_at]
        least = pool.ready.least()
        idle = least is not None and not least.load  # what waits, waits for others of its batch
        came += [session.opened_at for session in pool.homeless.values()][:1]
        return Demand(
            size=size,
            starting=sum(max(agent.size - len(_staying(agent)), 0) for agent in agents),
            least=sum(agent.least for agent in agents),
            most=sum(agent.most for agent in agents),
            needed=min(max(-(-pool.peak // slots), busy) + owners, size),
            waiting=0 if idle else len(pool.queue) + len(pool.homeless),
            oldest_wait_s=now - min(came, default=now),
            slots=slots,
            service_s=(pool.pace.means_s or (None, None))[0],
        )

    # --- by a person ---

    def bounds(self, pool: Pool) -> tuple[int, int] | None:
        """What a person may ask for: anything, where the configuration names one size; None where there is no agent."""
        agents = self._state.agents_of(pool)
        if not agents:
            return None
        if not pool.dynamic:
            return 0, limits.MAX_AGENT_WORKERS
        return sum(agent.least for agent in agents), sum(agent.most for agent in agents)

    def scale(self, pool: Pool, size: int, now: float) -> int:
        """Give it this size, which is within its bounds; returns what it was."""
        before = self.size(pool)
        pool.vacant.clear()
        if size != before:
            pool.sizing.changed(size, now)
            self._apply(pool, size, "operator", now)
        return before

    def size(self, pool: Pool) -> int:
        """How many workers its agents keep."""
        return sum(agent.size for agent in self._state.agents_of(pool))

    def say_again(self, pool: Pool) -> None:
        """Tell its agents what they know: they try again to start workers."""
        for agent in self._state.agents_of(pool):
            self._state.send(agent.peer, messages.Resize(agent.size))

    # --- by a scaler outside ---

    def desired(self, pool: Pool, now: float) -> int:
        """How many workers would do for its load; `size` where nothing can be said, as while it is held up."""
        demand = self._demand(pool, now)
        size = max(demand.size, len(pool.workers))
        if pool.paused or pool.closed or pool.degraded:
            return size
        busy = sum(bool(worker.load or worker.sessions) for worker in pool.workers.values())
        on_average = math.ceil((pool.health.utilisation or 0.0) * size / DESIRED_UTILISATION)
        needed = min(max(busy, on_average), size)
        return pool.sizing.desired(msgspec.structs.replace(demand, size=size, needed=needed))

    def give_up(self, pool: Pool, count: int, now: float) -> list[Worker]:
        """End so many workers that do nothing and own no session, the newest first, and keep as many fewer."""
        idle = [one for one in pool.workers.values() if not (one.retirement or one.load or one.sessions)]
        chosen = sorted(idle, key=lambda worker: -worker.registered_at)[:count]
        for worker in chosen:
            agent = self._state.agent_of(worker)
            if agent is not None and agent.size:
                agent.size -= 1
                self._state.send(agent.peer, messages.Resize(agent.size))
            self._retiring.retire(worker, "drain", "a scaler takes it", now)
        if chosen:
            pool.sizing.changed(self.size(pool), now)
        return chosen

    # --- doing it ---

    def _apply(self, pool: Pool, size: int, why: str, now: float) -> None:
        agents = self._state.agents_of(pool)
        before = {agent: agent.size for agent in agents}
        change = size - sum(before.values())
        for _ in range(change):
            max(agents, key=lambda agent: _room(agent, pool)).size += 1
        victims = self._shrink(pool, agents, -change)
        for agent, old in before.items():
            if agent.size != old:
                self._state.send(agent.peer, messages.Resize(agent.size))
        self._state.note("pool.resized", pool=pool.name, size=size, before=size - change, why=why)
        for worker in victims:
            self._retiring.retire(worker, "drain", f"the pool has {size} workers ({why})", now)

    def _shrink(self, pool: Pool, agents: list[Agent], count: int) -> list[Worker]:
        staying = {agent: _staying(agent) for agent in agents}
        victims: list[Worker] = []
        for _ in range(count):
            above = [agent for agent in agents if agent.size > (agent.least if pool.dynamic else 0)]
            unready = next((agent for agent in above if agent.size > len(staying[agent])), None)
            if unready is not None:
                unready.size -= 1
                continue
            victim = least_missed(worker for agent in above for worker in staying[agent])
            if victim is None:
                break
            agent = next(agent for agent in above if victim in staying[agent])
            staying[agent].remove(victim)
            agent.size -= 1
            victims.append(victim)
        return victims

    # --- agents that have more workers than they are to keep ---

    def sweep(self, now: float) -> None:
        """End one too many, where there is one for longer than it takes to replace a worker by another.

        A worker may have become ready when its agent was told to keep fewer; a broker that is new does not know whom the
        one before it wanted to go.
        """
        for agent in list(self._state.agents.values()):
            told = agent.size or agent.most  # an agent that keeps no count says neither
            if not told or len(_staying(agent)) <= agent.size:
                agent.surplus_since = None
            elif agent.surplus_since is None:
                agent.surplus_since = now
            elif now - agent.surplus_since >= self._state.settings.worker_silence_s:
                victim = least_missed(_staying(agent))
                if victim is not None:
                    self._retiring.retire(victim, "drain", f"one more than the {agent.size} of its agent", now)


def _room(agent: Agent, pool: Pool) -> int:
    return agent.most - agent.size if pool.dynamic else -agent.size


def _staying(agent: Agent) -> list[Worker]:
    """Its workers that are ready, and that nobody wants to go."""
    ready = agent.pool.workers
    return [ready[key] for key in agent.workers if key in ready and ready[key].retirement is None]
