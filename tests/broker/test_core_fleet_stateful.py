"""Pools that grow, shrink and are recycled, under deaths, lost agents and an operator: agents that obey, whatever comes.

What must hold: an agent is told nothing outside its bounds, nobody who is dismissed in his time has work, and in the end
everything is answered, whoever was to go has gone, and the pool has shrunk to its least.
"""

from __future__ import annotations

from typing import Any

from agent_model import AgentModel
from broker_peers import POOL, Bench, id128
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from maitred.broker.core.settings import PoolSettings
from maitred.protocol import messages as m

MOST = 4
SETTINGS = PoolSettings(
    POOL,
    timeout_s=60.0,
    scale_up_after_s=0.2,
    scale_down_after_s=6.0,
    scale_cooldown_s=0.5,
    drain_timeout_s=4.0,
    health_check_interval_s=1.0,
)


class FleetMachine(RuleBasedStateMachine):
    @initialize(agents=st.integers(1, 2), least=st.integers(0, 1))
    def start(self, agents: int, least: int) -> None:
        self.bench = Bench(pools=[SETTINGS], client_silence_s=1e6)
        self.client = self.bench.client()
        self.least = least
        self.count = 0
        self.answers: dict[int, list[Any]] = {}
        self.sent: set[int] = set()
        self.given: dict[tuple[int, int], list[m.Dispatch]] = {}
        self.agents: list[AgentModel] = []
        for _ in range(agents):
            self.agent_arrives()

    def number(self) -> int:
        self.count += 1
        return self.count

    def agent_arrives(self, host: str | None = None) -> None:
        number = 500 + self.number()
        agent = AgentModel(self.bench, number, self.least, least=self.least, most=MOST, host=host or f"host-{number}")
        self.agents.append(agent)

    def collect(self) -> None:
        """Everybody reads, and answers what is asked of him; work is kept until `work`."""
        for agent in self.agents:
            for number, peer in agent.ready.items():
                for message, _ in self.bench.take(peer):
                    if isinstance(message, m.Dispatch):
                        assert number not in agent.retired, "work was given to a worker that is to go"
                        self.given.setdefault((agent.number, number), []).append(message)
                    elif isinstance(message, m.Check):
                        self.bench.tell(peer, m.Checked(message.number))
            told = self.bench.inbox.get(agent.peer, [])
            for message, _ in told:
                if isinstance(message, m.Resize):
                    assert self.least <= message.workers <= MOST, "a size outside the bounds"
                elif isinstance(message, m.Dismiss):
                    held = [key for key in self.given if id128(key[1]) == message.worker and self.given[key]]
                    assert not held or self.bench.now >= self.retired_by(message.worker), "it was dismissed at work"
            agent.obey()
        for message, _ in self.bench.take(self.client):
            if isinstance(message, m.Reply | m.Error):
                self.answers.setdefault(message.id, []).append(message)
        alive = {(agent.number, number) for agent in self.agents for number in agent.ready}
        self.given = {key: orders for key, orders in self.given.items() if key in alive}

    def retired_by(self, worker: bytes) -> float:
        known = self.bench.core.state.workers[worker].retirement
        assert known is not None
        return known.deadline

    # --- rules ---

    @rule(burst=st.integers(1, 12))
    def request(self, burst: int) -> None:
        for _ in range(burst):
            request = m.Request(self.number(), POOL, "safe", 60.0)
            self.sent.add(request.id)
            self.bench.tell(self.client, request, b"")
        self.collect()

    @rule(rounds=st.integers(1, 3), ran=st.sampled_from([0.01, 0.3]))
    def work(self, rounds: int, ran: float = 0.1) -> None:
        for _ in range(rounds):
            for agent in list(self.agents):
                for number, peer in list(agent.ready.items()):
                    for order in self.given.pop((agent.number, number), []):
                        self.bench.tell(peer, m.WorkerReply(order.client, order.id, order.attempt, ran), b"")
            self.collect()

    @rule(count=st.integers(1, 4))
    def workers_get_ready(self, count: int) -> None:
        for agent in self.agents:
            agent.get_ready(count)
        self.collect()

    @rule(seconds=st.sampled_from([0.05, 0.3, 1.0, 4.0]))
    def time_passes(self, seconds: float) -> None:
        end = self.bench.now + seconds
        while self.bench.now < end:
            self.bench.advance(min(0.1, end - self.bench.now))
            for agent in self.agents:
                agent.beat()
            self.collect()

    @rule(which=st.integers(0, 7))
    def worker_dies(self, which: int) -> None:
        ready = [(agent, number) for agent in self.agents for number in agent.ready]
        if which < len(ready):
            agent, number = ready[which]
            begun = [(order.client, order.id) for order in self.given.pop((agent.number, number), [])]
            del agent.ready[number]
            self.bench.tell(agent.peer, m.Died(id128(number), m.Certificate("signal", "SIGKILL"), begun))
            agent.keep()
            self.collect()

    @rule(which=st.integers(0, 1), at_once=st.booleans())
    def agent_is_killed_with_its_workers(self, which: int, at_once: bool) -> None:
        if which >= len(self.agents):
            return
        agent = self.agents.pop(which)
        self.given = {key: orders for key, orders in self.given.items() if key[0] != agent.number}
        if at_once:  # its connection ends before anything else is known
            self.bench.perform(self.bench.core.undeliverable(agent.peer, m.Heartbeat(), self.bench.now))
        for peer in agent.ready.values():
            self.bench.perform(self.bench.core.undeliverable(peer, m.Heartbeat(), self.bench.now))
        self.agent_arrives(host=str(agent.fields["host"]))
        self.collect()

    @rule(which=st.integers(0, 1))
    def agent_comes_back(self, which: int) -> None:
        if which < len(self.agents):
            self.agents[which].connect()
            self.collect()

    @rule(which=st.integers(0, 7))
    def agent_wants_one_to_go(self, which: int) -> None:
        ready = [(agent, number) for agent in self.agents for number in agent.ready if number not in agent.retired]
        if which < len(ready):
            agent, number = ready[which]
            agent.retired.append(number)
            self.bench.tell(agent.peer, m.Retire(id128(number), "recycle"))
            agent.keep()
            self.collect()

    def operate(self, verb: str, target: str) -> None:
        message = m.Operate(self.number(), verb, target)
        self.sent.add(message.id)
        self.bench.tell(self.client, message)
        self.collect()

    @rule(size=st.integers(0, 9))
    def operator_scales(self, size: int) -> None:
        self.operate("scale", f"{POOL}={size}")

    @rule(verb=st.sampled_from(["recycle", "pause", "resume"]))
    def operator_turns_the_pool(self, verb: str) -> None:
        self.operate(verb, POOL)

    @precondition(lambda self: any(agent.starting for agent in self.agents))
    @rule()
    def a_start_fails(self) -> None:
        agent = next(agent for agent in self.agents if agent.starting)
        agent.bury(agent.starting.pop(0), "exit")
        agent.keep()
        self.collect()

    # --- what must hold ---

    @invariant()
    def at_most_one_answer(self) -> None:
        for key, answers in getattr(self, "answers", {}).items():
            assert key in self.sent
            assert len(answers) == 1

    def teardown(self) -> None:
        """Heal: whoever starts gets ready, everybody works; then nobody asks for anything any more."""
        if not hasattr(self, "bench"):
            return
        self.operate("resume", POOL)
        for _ in range(200):
            self.workers_get_ready(4)
            self.work(1)
            self.time_passes(0.1)
        assert all(len(self.answers.get(key, [])) == 1 for key in self.sent), "a request was never answered"
        state = self.bench.core.state
        assert not state.requests
        assert not any(worker.draining for worker in state.workers.values()), "it never went"
        assert [agent.size for agent in self.agents] == [self.least] * len(self.agents), "it did not shrink"
        assert len(state.workers) == self.least * len(self.agents)


FleetMachine.TestCase.settings = hypothesis_settings(
    max_examples=50, stateful_step_count=40, deadline=None, derandomize=True
)
TestFleet = FleetMachine.TestCase
