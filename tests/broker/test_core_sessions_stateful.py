"""Sessions under anything that peers can do: opened, used, renewed, closed, run out, moved, lost, resumed by a new broker.

The model knows what each worker was told and what each client was answered. A worker runs the requests of a session on
whatever it holds of it; the state is the list of requests that it ran.
"""

from __future__ import annotations

from typing import Any

from broker_peers import POOL, Bench, id128
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from maitred.broker.core.effects import Peer, Side
from maitred.broker.core.settings import PoolSettings
from maitred.protocol import messages as m

Key = tuple[bytes, int]
TTL_S = 20.0
DRAIN_S = 4.0
COMMANDS = [m.CommandInfo("echo"), m.CommandInfo("safe", idempotent=True)]


class WorkerModel:
    """What a worker was given and has not answered, and the sessions it holds: by id, their epoch and their state."""

    def __init__(self, number: int, slots: int, peer: Peer) -> None:
        self.number = number
        self.slots = slots
        self.peer = peer
        self.given: list[m.Dispatch] = []
        self.earlier: set[Key] = (
            set()
        )  # given by a broker that is no more: only the worker knows of what session they are
        self.sessions: dict[bytes, m.SessionOpen | m.SessionHeld] = {}
        self.retired_at: float | None = None  # when the broker was told that it is to go
        self.dismissed = False


class SessionMachine(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.count = 0
        self.make_broker()
        self.clients: list[tuple[int, Peer]] = []
        self.workers: list[WorkerModel] = []
        self.sent: dict[Key, m.Request | m.Open | m.Session] = {}
        self.answers: dict[Key, list[Any]] = {}
        self.opened: list[bytes] = []
        self.begun: dict[bytes, list[int]] = {}  # by session: the requests of it that were begun, in order
        self.epochs: dict[bytes, int] = {}
        self.gone: set[bytes] = set()
        self.paused = False
        self.client_arrives()
        self.worker_arrives(1)
        self.worker_arrives(2)

    def make_broker(self) -> None:
        pool = PoolSettings(
            POOL, timeout_s=8.0, max_queue=12, kill_grace_s=0.5, max_sessions=5, drain_timeout_s=DRAIN_S
        )
        self.bench = Bench(pools=[pool], client_silence_s=1000.0)
        self.bench.now += 10_000.0 * self.number()
        self.agent = self.bench.agent(9_000 + self.number())

    def number(self) -> int:
        self.count += 1
        return self.count

    # --- what each peer receives ---

    def collect(self) -> None:
        for number, peer in self.clients:
            for message, _ in self.bench.take(peer):
                if isinstance(message, m.Reply | m.Error):
                    self.answers.setdefault((id128(number), message.id), []).append(message)
        for worker in self.workers:
            for message, _ in self.bench.take(worker.peer):
                match message:
                    case m.SessionOpen():
                        assert worker.retired_at is None, "a session was given to a worker that is to go"
                        assert not self.paused, "a session was opened in a pause"
                        assert message.epoch > self.epochs.get(message.session, 0), "an owner of an old epoch"
                        self.epochs[message.session] = message.epoch
                        worker.sessions[message.session] = message
                    case m.SessionClose():
                        running = [order for order in self.known(worker) if order.session == message.session]
                        assert not running or message.reason == "lost", "it was ended while something of it ran"
                        worker.sessions.pop(message.session, None)
                    case m.Dispatch():
                        self.begin(worker, message)
                    case _:
                        pass
        for message, _ in self.bench.take(self.agent):
            if isinstance(message, m.Dismiss):
                for worker in [w for w in self.workers if id128(w.number) == message.worker]:
                    self.dismiss(worker)
            if isinstance(message, m.Fence) and message.only is not None:
                for worker in [w for w in self.workers if id128(w.number) == message.worker]:
                    if message.only in [(order.client, order.id) for order in worker.given]:
                        self.kill(worker, message.cause)

    def dismiss(self, worker: WorkerModel) -> None:
        assert worker.retired_at is not None
        in_time = self.bench.now < worker.retired_at + DRAIN_S
        assert not in_time or not self.known(worker), "it was dismissed before it had answered, or its time was over"
        assert not in_time or not worker.sessions, "its sessions were taken from it before its time was over"
        worker.dismissed = True

    def begin(self, worker: WorkerModel, order: m.Dispatch) -> None:
        key = (order.client, order.id)
        assert not self.paused, "work was begun in a pause"
        assert not worker.dismissed, "work was begun on a worker that was told to end"
        assert worker.retired_at is None or order.session is not None, "other work went to a worker that is to go"
        assert not self.answers.get(key), "work was dispatched after its answer"
        assert all((o.client, o.id) != key for w in self.workers for o in w.given), "a request is on two workers"
        if order.session is not None:
            held = worker.sessions.get(order.session)
            assert held is not None, "a worker was given a request of a session that it does not own"
            assert held.epoch == self.epochs[order.session], "the owner of an old epoch was given a request"
            others = [o for w in self.workers for o in self.known(w) if o.session == order.session]
            assert not others, "two requests of a session at a time"
            order_of = self.begun.setdefault(order.session, [])
            assert not order_of or order.id > max(order_of) or order.id in order_of, "the order was not kept"
            order_of.append(order.id)
        worker.given.append(order)
        assert len(worker.given) <= worker.slots

    @staticmethod
    def known(worker: WorkerModel) -> list[m.Dispatch]:
        return [order for order in worker.given if (order.client, order.id) not in worker.earlier]

    # --- rules ---

    @rule()
    def client_arrives(self) -> None:
        if len(self.clients) < 2:
            number = self.number()
            self.clients.append((number, self.bench.client(number)))

    @rule(slots=st.integers(1, 3))
    def worker_arrives(self, slots: int) -> None:
        if len(self.workers) < 3:
            number = 1000 + 10 * self.number()
            self.bench.tell(self.agent, m.Spawned(id128(number), number))
            self.workers.append(WorkerModel(number, slots, self.bench.worker(number, slots, *COMMANDS)))
            self.collect()

    def say(self, who: int, message: Any, *body: bytes) -> None:
        number, peer = self.clients[who % len(self.clients)]
        self.sent[id128(number), message.id] = message
        self.bench.tell(peer, message, *body)
        self.collect()

    @precondition(lambda self: self.clients)
    @rule(who=st.integers(0, 1), affinity=st.sampled_from([m.STRICT, m.STRICT, m.FAIL_FAST, m.PREFER]))
    def open(self, who: int, affinity: int) -> None:
        session = id128(100_000 + self.number())
        self.opened.append(session)
        self.say(who, m.Open(self.number(), session, POOL, TTL_S, affinity), b"\x80")

    @precondition(lambda self: self.clients and self.opened)
    @rule(
        who=st.integers(0, 1),
        which=st.integers(0, 9),
        burst=st.integers(1, 4),
        command=st.sampled_from(["echo", "safe"]),
        timeout=st.sampled_from([None, 0.4, 3.0]),
        affinity=st.sampled_from([None, None, m.STRICT, m.FAIL_FAST, m.PREFER]),
    )
    def use(self, who: int, which: int, burst: int, command: str, timeout: float | None, affinity: int | None) -> None:
        session = self.opened[-1 - which % min(len(self.opened), 5)]
        for _ in range(burst):
            request = m.Request(self.number(), POOL, command, timeout, session=session, affinity=affinity)
            self.say(who, request, b"")

    @precondition(lambda self: self.clients)
    @rule(who=st.integers(0, 1), burst=st.integers(1, 3))
    def request(self, who: int, burst: int) -> None:
        for _ in range(burst):
            self.say(who, m.Request(self.number(), POOL, "safe", 5.0), b"")

    @precondition(lambda self: self.clients and self.opened)
    @rule(who=st.integers(0, 1), which=st.integers(0, 9), verb=st.sampled_from(["attach", "renew", "close"]))
    def do(self, who: int, which: int, verb: str) -> None:
        self.say(who, m.Session(self.number(), self.opened[-1 - which % len(self.opened)], verb))

    @precondition(lambda self: any(worker.given for worker in self.workers))
    @rule(which=st.integers(0, 2), place=st.integers(0, 2), fails=st.booleans())
    def answer(self, which: int, place: int, fails: bool) -> None:
        busy = [worker for worker in self.workers if worker.given]
        if busy:
            worker = busy[which % len(busy)]
            order = worker.given.pop(place % len(worker.given))
            if fails:
                error = m.WorkerError(order.client, order.id, order.attempt, "application_error", "boom", 0.1)
                self.bench.tell(worker.peer, error, b"\x80")
            else:
                self.bench.tell(worker.peer, m.WorkerReply(order.client, order.id, order.attempt, 0.1), b"r")
            self.collect()

    @precondition(lambda self: any(worker.sessions for worker in self.workers))
    @rule(which=st.integers(0, 9))
    def snapshot(self, which: int) -> None:
        held = [(worker, session) for worker in self.workers for session in worker.sessions.values()]
        worker, session = held[which % len(held)]
        self.bench.tell(worker.peer, m.Snapshot(session.session, session.epoch), b"state")

    @precondition(lambda self: any(worker.sessions for worker in self.workers))
    @rule(which=st.integers(0, 9))
    def hook_raises(self, which: int) -> None:
        held = [(worker, session) for worker in self.workers for session in worker.sessions.values()]
        worker, session = held[which % len(held)]
        if not any(order.session == session.session for order in worker.given):
            del worker.sessions[session.session]
            self.bench.tell(worker.peer, m.SessionFailed(session.session, session.epoch, "boom"), b"\x80")
            self.collect()

    @rule(pick=st.integers(0, 50))
    def cancel(self, pick: int) -> None:
        keys = [key for key, one in self.sent.items() if isinstance(one, m.Request) and not self.answers.get(key)]
        if keys:
            client_id, request_id = keys[pick % len(keys)]
            for number, peer in self.clients:
                if id128(number) == client_id:
                    self.bench.tell(peer, m.Cancel(request_id))
            self.collect()

    def kill(self, worker: WorkerModel, cause: str = "signal") -> None:
        self.workers.remove(worker)
        begun = [(order.client, order.id) for order in worker.given]
        self.bench.tell(self.agent, m.Died(id128(worker.number), m.Certificate(cause), begun))
        self.collect()

    @rule(which=st.integers(0, 2))
    def worker_dies(self, which: int) -> None:
        if which < len(self.workers):
            self.kill(self.workers[which])

    @rule(which=st.integers(0, 2))
    def worker_leaves(self, which: int) -> None:
        if which < len(self.workers):
            worker = self.workers[which]
            while worker.given:
                order = worker.given.pop(0)
                self.bench.tell(worker.peer, m.WorkerReply(order.client, order.id, order.attempt), b"")
                self.collect()
            if worker in self.workers:
                self.workers.remove(worker)
                self.bench.tell(worker.peer, m.Leave())
                self.collect()

    @rule(which=st.integers(0, 2))
    def worker_is_to_go(self, which: int) -> None:
        if which < len(self.workers) and self.workers[which].retired_at is None:
            worker = self.workers[which]
            worker.retired_at = self.bench.now
            self.bench.tell(self.agent, m.Retire(id128(worker.number), "recycle"))
            self.collect()

    @precondition(lambda self: any(worker.dismissed for worker in self.workers))
    @rule()
    def dismissed_worker_ends(self) -> None:
        which = next(place for place, worker in enumerate(self.workers) if worker.dismissed)
        number = self.workers[which].number
        self.worker_leaves(which)
        self.bench.tell(self.agent, m.Died(id128(number), m.Certificate("recycle"), []))
        self.collect()

    @precondition(lambda self: self.clients)
    @rule(verb=st.sampled_from(["pause", "resume", "resume"]))
    def operator_turns_the_pool(self, verb: str) -> None:
        if verb == "resume":
            self.paused = False
        _, peer = self.clients[0]
        self.bench.tell(peer, m.Operate(1_000_000 + self.number(), verb, POOL))
        self.paused = verb == "pause"
        self.bench.inbox[peer] = [
            (told, body) for told, body in self.bench.take(peer) if getattr(told, "id", 0) < 1_000_000
        ]
        self.collect()

    @rule(who=st.integers(0, 1))
    def client_vanishes(self, who: int) -> None:
        if who < len(self.clients):
            number, peer = self.clients.pop(who)
            self.gone.add(id128(number))
            self.bench.perform(self.bench.core.undeliverable(peer, m.Heartbeat(), self.bench.now))
            self.collect()

    @rule(seconds=st.sampled_from([0.01, 0.7, 2.5, 9.0]))
    def time_passes(self, seconds: float) -> None:
        end = self.bench.now + seconds
        while self.bench.now < end:
            self.beat()
            self.bench.advance(min(0.5, end - self.bench.now))
            self.collect()

    def beat(self) -> None:
        for _, peer in self.clients:
            self.bench.tell(peer, m.Heartbeat())
        self.bench.tell(self.agent, m.Vouch([]))
        for worker in self.workers:
            self.bench.tell(worker.peer, m.Heartbeat())
        self.collect()

    @rule(late=st.sampled_from([0.0, 1.0]))
    def broker_restarts(self, late: float) -> None:
        """A new one knows nothing. Clients come back at once, workers sooner or later, with what they hold."""
        self.gone |= {id128(number) for number, _ in self.clients}  # nobody answers what the old one was asked
        self.make_broker()
        self.paused = False  # the new one knows of none, and of nobody who is to go
        self.clients = []
        self.client_arrives()
        self.bench.advance(late)
        for worker in self.workers:
            holds = [(order.client, order.id) for order in worker.given]
            worker.earlier = set(holds)
            worker.retired_at, worker.dismissed = None, False
            self.bench.tell(self.agent, m.Spawned(id128(worker.number), worker.number))
            worker.peer = self.bench.worker(worker.number, worker.slots, *COMMANDS, holds=holds)
            for held in worker.sessions.values():
                told = m.SessionHeld(held.session, held.client, held.epoch, TTL_S, TTL_S / 2, held.affinity)
                self.bench.tell(worker.peer, told, b"\x80")
            self.collect()

    # --- what must hold ---

    @invariant()
    def at_most_one_answer(self) -> None:
        for key, answers in getattr(self, "answers", {}).items():
            assert key in self.sent
            assert len(answers) == 1, f"{key}: {answers}"

    def teardown(self) -> None:
        """Heal: everybody works and beats; then every question has its answer, and every session has run out."""
        if not hasattr(self, "bench"):
            return
        if not self.clients:
            self.client_arrives()
        self.operator_turns_the_pool("resume")
        for _ in range(200):
            self.collect()
            if all(worker.dismissed for worker in self.workers):
                number = 1000 + 10 * self.number()
                self.workers.append(WorkerModel(number, 1, self.bench.worker(number, 1, *COMMANDS)))
            while any(worker.given for worker in self.workers):
                self.answer(0, 0, False)
            while any(worker.dismissed for worker in self.workers):
                self.dismissed_worker_ends()
            self.beat()
            self.bench.advance(0.5)
        self.collect()
        for key in self.sent:
            assert key[0] in self.gone or len(self.answers.get(key, [])) == 1, f"{key} was never answered"
        state = self.bench.core.state
        assert not state.requests
        assert not state.sessions, "a session outlived its time"
        assert not any(worker.sessions for worker in state.workers.values())
        assert not any(worker.sessions for worker in self.workers), "an owner was not told of an end"
        assert not any(worker.load for worker in state.workers.values()), "a slot was lost"
        assert not any(worker.draining for worker in state.workers.values()), "it never went"


SessionMachine.TestCase.settings = hypothesis_settings(
    max_examples=80, stateful_step_count=50, deadline=None, derandomize=True
)
TestSessions = SessionMachine.TestCase


def test_the_workers_side_alone_speaks_for_sessions() -> None:
    """A client cannot say that a session is held."""
    bench = Bench()
    client = bench.client()
    bench.tell(client, m.SessionHeld(id128(1), id128(2), 1, 10.0, 10.0), b"\x80")
    assert not bench.core.state.sessions
    assert bench.peer(Side.WORKERS)
