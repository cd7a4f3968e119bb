"""The core under anything that peers can do, in any order.

The model knows only what peers see. After every step the core's books are checked; at the end everything is healed and
drained, and every request that was accepted must have exactly one terminal answer.
"""

from __future__ import annotations

from typing import Any

import msgpack
from broker_peers import POOL, Bench, id128
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from maitred.broker.core.effects import Peer, Side
from maitred.broker.core.settings import ClientSettings, PoolSettings
from maitred.protocol import messages as m

MAX_QUEUE = 6
MAX_QUEUE_BYTES = 40
COMMANDS = [
    m.CommandInfo("echo"),
    m.CommandInfo("safe", idempotent=True),
    m.CommandInfo("embed", idempotent=True, batch=3, max_wait=0.05),
]
Key = tuple[bytes, int]


class WorkerModel:
    """What a worker knows: what it was given and has not answered, in order. The first one, or batch, is running."""

    def __init__(self, number: int, peer: Peer, agent: Peer | None, prefetch: int = 0) -> None:
        self.number = number
        self.peer = peer
        self.prefetch = prefetch
        self.control: Peer | None = None
        self.recalls: list[m.Recall] = []
        self.agent = agent
        self.given: list[m.Dispatch] = []
        self.unit: dict[tuple[Key, int], int] = {}  # by request and attempt: which batch it is in
        self.expects_more = 0
        self.cancelled: set[Key] = set()
        self.checks: list[m.Check] = []
        self.retired = False  # it is to go, and the broker knows
        self.dismissed = False

    def give(self, order: m.Dispatch) -> None:
        if self.expects_more:
            assert order.more == self.expects_more - 1, "a batch was cut"
            assert order.command == self.given[-1].command, "a batch of several commands"
            self.unit[(order.client, order.id), order.attempt] = max(self.unit.values())
        else:
            self.unit[(order.client, order.id), order.attempt] = max(self.unit.values(), default=0) + 1
        self.expects_more = order.more
        self.given.append(order)

    def units(self) -> list[int]:
        return [self.unit[(order.client, order.id), order.attempt] for order in self.given]

    def running(self) -> list[m.Dispatch]:
        units = self.units()
        return [order for order, unit in zip(self.given, units, strict=True) if unit == units[0]]


SPAN = "b7ad6b7169203331"


class CoreMachine(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        pool = PoolSettings(
            POOL,
            timeout_s=20.0,
            max_queue=MAX_QUEUE,
            max_queue_bytes=MAX_QUEUE_BYTES,
            kill_grace_s=0.5,
            drain_timeout_s=3.0,
            health_check_interval_s=0.8,
        )
        self.bench = Bench(pools=[pool], client_silence_s=15.0, client=lambda _: ClientSettings(weight=2), tracing=True)
        self.given: list[tuple[str, str]] = []  # what a traced order said: its request's trace, and its own span
        self.levels: dict[Peer, int] = {}
        self.tickets: list[int] = [0]
        self.clients: list[tuple[int, Peer]] = []
        self.workers: list[WorkerModel] = []
        self.agents: list[Peer] = []
        self.sent: dict[Key, m.Request] = {}
        self.answers: dict[Key, list[Any]] = {}
        self.begun: set[Key] = set()
        self.unclear: set[Key] = set()  # nobody can tell whether these were begun
        self.cancelled: set[Key] = set()
        self.untold = False  # a worker died and nobody said so: what the broker gives it meanwhile is unclear too
        self.gone: set[bytes] = set()
        self.paused = False
        self.count = 0
        self.client_arrives()
        self.agent_arrives()
        self.worker_arrives(2, 0)
        self.worker_arrives(1, 2)

    def number(self) -> int:
        self.count += 1
        return self.count

    # --- what each peer receives ---

    def collect(self) -> None:
        for number, peer in self.clients:
            for message, body in self.bench.take(peer):
                if isinstance(message, m.Pressure):
                    assert self.levels.get(peer) != message.level, "told of a level that it knows"
                    self.levels[peer] = message.level
                elif isinstance(message, m.Reply | m.Error):
                    assert message.id >= 0
                    if isinstance(message, m.Error) and message.code == "resource_exhausted":
                        self.tickets.append(msgpack.unpackb(body[0]).get("ticket", 0))
                    key = (id128(number), message.id)
                    if isinstance(message, m.Error) and message.code == "worker_lost":
                        assert self.untold or key in self.begun | self.unclear, "lost with a worker that never began it"
                    self.answers.setdefault((id128(number), message.id), []).append(message)
        for worker in self.workers:
            for message, _ in self.bench.take(worker.peer):
                if isinstance(message, m.Dispatch):
                    self.begin(worker, message)
                elif isinstance(message, m.WorkerCancel):
                    worker.cancelled.add((message.client, message.id))
                elif isinstance(message, m.Check):
                    worker.checks.append(message)
                elif isinstance(message, m.Dismiss):
                    worker.dismissed = True
            for message, _ in self.bench.take(worker.control) if worker.control else ():
                if isinstance(message, m.Recall):
                    worker.recalls.append(message)
        for agent in list(self.agents):
            for message, _ in self.bench.take(agent):
                if isinstance(message, m.Fence):
                    self.fence(agent, message)
                elif isinstance(message, m.Dismiss):
                    for worker in [w for w in self.workers if id128(w.number) == message.worker]:
                        worker.dismissed = True

    def begin(self, worker: WorkerModel, order: m.Dispatch) -> None:
        key = (order.client, order.id)
        assert order.timeout > 0, "expired work was dispatched"
        assert not self.answers.get(key), "work was dispatched after its answer"
        assert key in self.sent
        assert not self.paused, "work was begun in a pause"
        sent = self.sent[key].trace
        assert (order.trace is not None) == bool(sent)
        if order.trace is not None:
            assert order.trace.trace[:36] == sent[:36]
            self.given.append((sent[3:35], order.trace.trace[36:52]))
        assert not worker.retired, "work was given to a worker that is to go"
        assert key not in self.cancelled, "what its client wants no more was begun"
        for other in self.workers:
            assert all((o.client, o.id) != key for o in other.given), "a request is on two workers"
        assert key not in self.begun or self.sent[key].command != "echo", "work was begun twice"
        worker.give(order)
        assert len(set(worker.units())) <= 2 + worker.prefetch

    def fence(self, agent: Peer, fence: m.Fence) -> None:
        for worker in [w for w in self.workers if id128(w.number) == fence.worker]:
            if fence.only is None:
                self.kill(worker, fence.cause)
            elif worker.given and fence.only in [(order.client, order.id) for order in worker.running()]:
                assert fence.only in self.cancelled or self.answers.get(fence.only) or fence.only[0] in self.gone, (
                    "a worker was killed for what is still wanted"
                )
                self.kill(worker, fence.cause)

    # --- rules: coming ---

    @rule()
    def client_arrives(self) -> None:
        if len(self.clients) < 3:
            number = self.number()
            self.clients.append((number, self.bench.client(number)))

    @rule()
    def agent_arrives(self) -> None:
        if len(self.agents) < 2:
            self.agents.append(self.bench.agent(10_000 + self.number()))

    @rule(slots=st.integers(1, 2), agent=st.integers(0, 2), prefetch=st.integers(0, 3))
    def worker_arrives(self, slots: int, agent: int, prefetch: int = 0) -> None:
        if len(self.workers) >= 4:
            return
        number = 1000 + 10 * self.number()
        parent = self.agents[agent] if agent < len(self.agents) else None
        if parent is not None:
            self.bench.tell(parent, m.Spawned(id128(number), number))
        worker = WorkerModel(number, self.bench.worker(number, slots, *COMMANDS, prefetch=prefetch), parent, prefetch)
        self.workers.append(worker)
        if prefetch:
            worker.control = self.bench.peer(Side.WORKERS)
            self.bench.tell(worker.control, m.Attach(id128(number), id128(number + 1)))
        self.collect()

    # --- rules: working ---

    @precondition(lambda self: self.clients)
    @rule(
        who=st.integers(0, 2),
        burst=st.integers(1, 5),
        command=st.sampled_from(["echo", "safe", "embed"]),
        timeout=st.sampled_from([None, 0.5, 5.0]),
        priority=st.sampled_from([m.LOW, m.NORMAL, m.HIGH]),
        size=st.integers(0, 20),
    )
    def request(self, who: int, burst: int, command: str, timeout: float | None, priority: int, size: int) -> None:
        number, peer = self.clients[who % len(self.clients)]
        for _ in range(burst):
            ticket = self.tickets[-1]
            number_of_it = self.number()
            trace = f"00-{number_of_it:032x}-{SPAN}-01" if number_of_it % 2 else ""
            message = m.Request(
                number_of_it, POOL, command, timeout, priority=priority, ticket=ticket, trace=trace
            )  # fmt: skip
            self.sent[(id128(number), message.id)] = message
            self.bench.tell(peer, message, b"x" * size)
            self.collect()

    @precondition(lambda self: self.clients)
    @rule(who=st.integers(0, 2))
    def watch(self, who: int) -> None:
        _, peer = self.clients[who % len(self.clients)]
        if peer not in self.levels:
            self.bench.tell(peer, m.Watch(self.number(), POOL))
            self.collect()
            assert peer in self.levels

    def operate(self, verb: str, target: str) -> None:
        number, peer = self.clients[0]
        order = m.Operate(self.number(), verb, target)
        self.sent[id128(number), order.id] = m.Request(order.id, POOL, "none")  # it is owed an answer too
        self.bench.tell(peer, order)

    @rule(pick=st.integers(0, 50))
    def operator_cancels(self, pick: int) -> None:
        keys = [key for key in self.sent if not self.answers.get(key) and key[0] not in self.gone]
        if keys and self.clients:
            client_id, request_id = key = keys[pick % len(keys)]
            self.operate("cancel", f"{client_id.hex()[:8]}-{request_id}")
            self.collect()
            self.cancelled.add(key)

    @precondition(lambda self: self.clients)
    @rule(verb=st.sampled_from(["pause", "resume", "resume", "drain", "recycle"]), whole=st.booleans())
    def operator_turns_the_pool(self, verb: str, whole: bool) -> None:
        self.collect()
        if verb == "resume":
            self.paused = False
        self.operate(verb, "" if whole and verb in ("resume", "drain") else POOL)
        if verb == "pause":
            self.paused = True
        if verb == "recycle":
            for worker in self.workers:
                worker.retired |= worker.agent not in self.agents
        self.collect()

    @rule(which=st.integers(0, 3), by_operator=st.booleans())
    def worker_is_to_go(self, which: int, by_operator: bool) -> None:
        if which < len(self.workers):
            worker = self.workers[which]
            if by_operator and self.clients:
                self.operate("drain", id128(worker.number).hex())
            elif worker.agent in self.agents and worker.agent is not None:
                self.bench.tell(worker.agent, m.Retire(id128(worker.number), "recycle"))
            else:
                return
            worker.retired = True
            self.collect()

    @precondition(lambda self: any(worker.dismissed for worker in self.workers))
    @rule()
    def dismissed_worker_ends(self) -> None:
        which = next(place for place, worker in enumerate(self.workers) if worker.dismissed)
        worker = self.workers[which]
        self.worker_leaves(which)
        if worker.agent in self.agents and worker.agent is not None:
            self.bench.tell(worker.agent, m.Died(id128(worker.number), m.Certificate("recycle"), []))
            self.collect()

    @precondition(lambda self: any(worker.checks for worker in self.workers))
    @rule(well=st.booleans())
    def worker_says_how_it_is(self, well: bool = True) -> None:
        worker = next(worker for worker in self.workers if worker.checks)
        if not well and worker.agent not in self.agents:
            worker.retired = True
        check = worker.checks.pop(0)
        self.bench.tell(worker.peer, m.Checked(check.number, "" if well else "it is ill"))
        if worker.retired and worker.checks == [] and not well:
            row = [one for one in self.bench.core.state.workers.values() if one.id == id128(worker.number)]
            worker.retired = any(one.draining for one in row)  # an answer that came too late asks for nothing
        self.collect()

    @rule(which=st.integers(0, 3), spare=st.booleans())
    def agent_reports(self, which: int, spare: bool) -> None:
        for agent in self.agents:
            seen = [m.WorkerState(id128(worker.number), which, which, 0.5, "G", spare) for worker in self.workers]
            self.bench.tell(agent, m.Report(seen))

    @precondition(lambda self: any(worker.given for worker in self.workers))
    @rule(which=st.integers(0, 3), fails=st.booleans(), ran=st.sampled_from([0.0, 0.00002, 0.0005, 0.5]))
    def answer(self, which: int, fails: bool, ran: float = 0.0) -> None:
        busy = [worker for worker in self.workers if worker.given]
        if busy:
            worker = busy[which % len(busy)]
            order = worker.given.pop(0)
            if fails:
                error = m.WorkerError(order.client, order.id, order.attempt, "application_error", "boom", ran)
                self.bench.tell(worker.peer, error, b"\x80")
            else:
                self.bench.tell(worker.peer, m.WorkerReply(order.client, order.id, order.attempt, ran), b"r")
            self.collect()

    @precondition(lambda self: any(worker.given for worker in self.workers))
    @rule(which=st.integers(0, 3))
    def answer_twice(self, which: int) -> None:
        if which < len(self.workers) and self.workers[which].given:
            order = self.workers[which].given[0]
            reply = m.WorkerReply(order.client, order.id, order.attempt)
            self.answer(which, False)
            if self.workers[which].given[:1] != [order]:
                self.bench.tell(self.workers[which].peer, reply, b"again")
                self.collect()

    @precondition(lambda self: any(worker.recalls for worker in self.workers))
    @rule(which=st.integers(0, 3), again=st.booleans())
    def give_back(self, which: int, again: bool) -> None:
        """A worker hears of a recall, sooner or later: what it has not begun it gives back."""
        asked = [worker for worker in self.workers if worker.recalls]
        if asked:
            worker = asked[which % len(asked)]
            recall = worker.recalls.pop(0)
            assert worker.control is not None
            waiting = [
                o
                for o in worker.given
                if o not in worker.running()
                and (o.client, o.id, o.attempt) == (recall.client, recall.id, recall.attempt)
            ]
            for order in waiting:
                worker.given.remove(order)
            for _ in range(1 + again if waiting else 0):
                self.bench.tell(worker.control, m.Returned(recall.client, recall.id, recall.attempt))
            self.collect()

    @rule(pick=st.integers(0, 50))
    def cancel(self, pick: int) -> None:
        keys = [key for key in self.sent if not self.answers.get(key)]
        if keys:
            client_id, request_id = keys[pick % len(keys)]
            for number, peer in self.clients:
                if id128(number) == client_id:
                    self.bench.tell(peer, m.Cancel(request_id))
            self.collect()
            self.cancelled.add((client_id, request_id))

    # --- rules: going, and trouble ---

    def kill(self, worker: WorkerModel, cause: str = "signal") -> None:
        self.workers.remove(worker)
        begun = [(order.client, order.id) for order in (worker.running() if worker.given else [])]
        self.begun.update(begun)
        if worker.agent in self.agents and worker.agent is not None:
            died = m.Died(id128(worker.number), m.Certificate(cause), begun)
            self.bench.tell(worker.agent, died)
            self.collect()
        else:
            self.untold = True

    @rule(which=st.integers(0, 3))
    def worker_dies(self, which: int) -> None:
        if which < len(self.workers):
            self.kill(self.workers[which])

    @rule(which=st.integers(0, 3))
    def worker_leaves(self, which: int) -> None:
        if which < len(self.workers):
            worker = self.workers.pop(which)
            for order in worker.running() if worker.given else []:
                self.bench.tell(worker.peer, m.WorkerReply(order.client, order.id, order.attempt), b"")
            self.bench.tell(worker.peer, m.Leave())
            self.collect()

    @rule(which=st.integers(0, 3), keeps=st.booleans())
    def worker_reconnects(self, which: int, keeps: bool) -> None:
        if which < len(self.workers):
            worker = self.workers[which]
            if not keeps:
                running = worker.running() if worker.given else []
                self.unclear.update((order.client, order.id) for order in worker.given if order not in running)
                worker.given = running
            holds = [(order.client, order.id) for order in worker.given]
            worker.peer = self.bench.worker(worker.number, 2, *COMMANDS, holds=holds, prefetch=worker.prefetch)
            worker.checks.clear()
            self.collect()

    @precondition(lambda self: any(worker.given for worker in self.workers))
    @rule(which=st.integers(0, 3))
    def order_is_undeliverable(self, which: int) -> None:
        if which < len(self.workers) and self.workers[which].given:
            worker = self.workers[which]
            self.unclear.update((order.client, order.id) for order in worker.given)
            order = worker.given.pop()
            self.bench.perform(self.bench.core.undeliverable(worker.peer, order, self.bench.now))
            if worker.agent not in self.agents:
                self.workers.remove(worker)
            self.collect()

    @rule(who=st.integers(0, 2))
    def client_vanishes(self, who: int) -> None:
        if who < len(self.clients):
            number, peer = self.clients.pop(who)
            self.gone.add(id128(number))
            self.bench.perform(self.bench.core.undeliverable(peer, m.Heartbeat(), self.bench.now))
            self.collect()

    @rule(which=st.integers(0, 1))
    def agent_vanishes(self, which: int) -> None:
        if which < len(self.agents):
            agent = self.agents.pop(which)
            self.bench.perform(self.bench.core.undeliverable(agent, m.Heartbeat(), self.bench.now))

    @rule(seconds=st.sampled_from([0.01, 0.6, 2.0]))
    def time_passes(self, seconds: float) -> None:
        """Everybody beats, time passes."""
        self.beat()
        self.let_pass(seconds)

    def let_pass(self, seconds: float) -> None:
        """In steps in which nothing is both given to a worker and answered for its deadline: no peer sees that order."""
        end = self.bench.now + seconds
        while self.bench.now < end:
            self.bench.advance(min(0.2, end - self.bench.now))
            self.collect()

    @rule(seconds=st.sampled_from([5.0, 30.0]))
    def silence(self, seconds: float) -> None:
        """Nobody beats for long: workers without an agent are given up, those with one are fenced."""
        self.unclear.update((order.client, order.id) for worker in self.workers for order in worker.given)
        told, self.untold = (
            not self.untold,
            True,
        )  # what was given meanwhile to others that are silent too is lost with them
        self.bench.advance(seconds)
        known = {worker.id for worker in self.bench.core.state.workers.values()}
        self.workers = [w for w in self.workers if id128(w.number) in known]
        self.agents = [a for a in self.agents if a in self.bench.core.state.parties]
        self.gone |= {id128(n) for n, p in self.clients if p not in self.bench.core.state.parties}
        self.clients = [(n, p) for n, p in self.clients if p in self.bench.core.state.parties]
        self.collect()
        self.untold = not told

    def beat(self) -> None:
        for _, peer in self.clients:
            self.bench.tell(peer, m.Heartbeat())
        for agent in self.agents:
            self.bench.tell(agent, m.Vouch([]))
        for worker in self.workers:
            self.bench.tell(worker.peer, m.Heartbeat())
        self.collect()

    # --- what must hold ---

    @invariant()
    def at_most_one_answer(self) -> None:
        for key, answers in getattr(self, "answers", {}).items():
            assert key in self.sent
            assert len(answers) == 1, f"{key}: {answers}"

    def teardown(self) -> None:
        """Heal: everybody works and beats until every request has its answer, or its client is gone."""
        if not hasattr(self, "bench"):
            return
        if not self.clients:
            self.client_arrives()
        self.paused = False
        self.operate("resume", "")
        for _ in range(60):
            self.collect()
            if all(worker.retired or worker.dismissed for worker in self.workers):
                number = 90_000 + 10 * self.number()
                self.workers.append(WorkerModel(number, self.bench.worker(number, 1, *COMMANDS), None))
            while any(worker.given for worker in self.workers):
                self.answer(0, False)
            while any(worker.dismissed for worker in self.workers):
                self.dismissed_worker_ends()
            while any(worker.checks for worker in self.workers):
                self.worker_says_how_it_is()
            self.beat()
            self.let_pass(0.5)
        for key in self.sent:
            assert key[0] in self.gone or len(self.answers.get(key, [])) == 1, f"{key} was never answered"
        assert not self.bench.core.state.requests
        self.check_traces()
        assert all(level == m.LEVEL_OK for peer, level in self.levels.items() if peer in self.bench.core.state.parties)
        assert not any(worker.load for worker in self.bench.core.state.workers.values()), "a slot was lost"
        assert not any(worker.draining for worker in self.bench.core.state.workers.values()), "it never went"

    def check_traces(self) -> None:
        """Each request of a trace is told of once, with how it ended; and each order that was given for it."""
        ended = {journey.parent.trace_id: journey for journey in self.bench.traced}
        assert len(ended) == len(self.bench.traced), "told of twice"
        assert len({journey.span_id for journey in ended.values()} | set(self.given)) == len(ended) + len(self.given)
        for (client_id, _), request in self.sent.items():
            if not request.trace:
                continue
            journey = ended.pop(request.trace[3:35])
            (answer,) = self.answers.get((client_id, request.id), [None])
            if answer is not None:
                assert journey.code == getattr(answer, "code", "")
            spans = [attempt.span_id for attempt in journey.attempts]
            told = [span for trace, span in self.given if trace == journey.parent.trace_id]  # some never arrived
            assert told == [span for span in spans if span in told]
            moments = [journey.began]
            for attempt in journey.attempts:
                assert attempt.over
                moments += [attempt.began, attempt.ended]
            assert [*moments, journey.ended] == sorted([*moments, journey.ended])
            assert all(journey.began <= event.at <= journey.ended for event in journey.events)
        assert not ended


CoreMachine.TestCase.settings = hypothesis_settings(
    max_examples=100, stateful_step_count=60, deadline=None, derandomize=True
)
TestCore = CoreMachine.TestCase


def test_the_sides_are_apart() -> None:
    """A client's connection cannot do what a worker's can, whatever it sends."""
    bench = Bench()
    peer = bench.peer(Side.CLIENTS)
    bench.tell(peer, m.Register(id128(1), id128(2), POOL, 1, []))
    assert not bench.core.state.workers
