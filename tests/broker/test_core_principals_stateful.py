"""The core under several principals, and policies that change while everything runs.

The model knows who may do what, and what each peer sees. After every step: the books are right, nobody is given work or
served that may not be, limits hold, and nobody learns of another's sessions. At the end everybody may do everything, and
each request that was accepted must have exactly one answer, or its client is gone.
"""

from __future__ import annotations

from typing import Any

import msgpack
from broker_peers import id128
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from keyed_peers import USER, KeyedBench, keyed, policy

from maitred.broker.core.effects import Peer, Side
from maitred.broker.core.policy import LOCAL, Principal
from maitred.broker.core.sessions import SETTLING_S
from maitred.broker.core.settings import PoolSettings
from maitred.protocol import messages as m

NAMES = ("ann", "ben", "cy", "dot")
POOLS = ("general", "neural")
COMMANDS = ("echo", "safe")
ALL = (("*", "*"),)
CALLS = [ALL, ALL, (("general", "*"),), (("*", "s*"),), (("neural", "echo"), ("general", "safe")), ()]
SERVES = [("*",), ("*",), ("general",), ("n*",), ()]

rights = st.builds(
    keyed,
    st.sampled_from(NAMES),
    call=st.sampled_from(CALLS),
    serve=st.sampled_from(SERVES),
    supervise=st.booleans(),
    operate=st.booleans(),
    read=st.booleans(),
    max_in_flight=st.sampled_from([None, 2, 3]),
    rate_per_s=st.sampled_from([None, None, 0.5, 3.0]),
    max_queued_bytes=st.sampled_from([None, None, 20]),
)
policies = st.lists(rights, min_size=2, max_size=4, unique_by=lambda one: one.name)


class ClientModel:
    """A connection that was let in."""

    def __init__(self, number: int, peer: Peer, name: str) -> None:
        self.number = number
        self.peer = peer
        self.name = name
        self.waits: dict[int, int] = {}  # unanswered requests that were accepted: how many bytes


class WorkerModel:
    def __init__(self, number: int, peer: Peer, name: str, pool: str) -> None:
        self.number = number
        self.peer = peer
        self.name = name
        self.pool = pool
        self.given: list[m.Dispatch] = []


class PrincipalsMachine(RuleBasedStateMachine):
    @initialize(first=policies)
    def start(self, first: list[Principal]) -> None:
        pools = [PoolSettings(name, timeout_s=50.0, max_queue=12, kill_grace_s=0.5) for name in POOLS]
        self.bench = KeyedBench(keyed("nobody"), pools=pools, client_silence_s=1e6, idle_client_s=1e6)
        self.bench.advance(SETTLING_S + 1)  # nothing is supposed any more
        self.known: dict[str, Principal] = {}
        self.clients: list[ClientModel] = []
        self.workers: list[WorkerModel] = []
        self.agents: list[tuple[Peer, str, str]] = []
        self.accepted: dict[str, list[float]] = {}
        self.sessions: dict[bytes, str] = {}
        self.count = 0
        everything = [keyed(name, call=(("*", "*"),), serve=("*",), supervise=True) for name in NAMES]
        self.go_by(everything)
        for place, name in enumerate(NAMES[:2]):
            self.worker_arrives(name, POOLS[place])
            self.client_arrives(name, place)
        self.go_by(first)

    def number(self) -> int:
        self.count += 1
        return self.count

    def who(self, name: str) -> Principal | None:
        return LOCAL if name == USER else self.known.get(name)

    def may_serve(self, name: str, pool: str) -> bool:
        it = self.who(name)
        return it is not None and it.may_serve(pool)

    def is_client(self, name: str) -> bool:
        it = self.who(name)
        return it is not None and bool(it.call or it.operate or it.read)

    # --- what each peer receives ---

    def collect(self) -> None:
        for client in list(self.clients):
            for message, body in self.bench.take(client.peer):
                self.client_sees(client, message, body)
        for worker in list(self.workers):
            for message, _ in self.bench.take(worker.peer):
                self.worker_sees(worker, message)
        for agent in self.agents:
            self.bench.take(agent[0])

    def client_sees(self, client: ClientModel, message: Any, body: Any) -> None:
        match message:
            case m.Error(id=-1):
                assert message.code == "unauthenticated"
                assert not self.is_client(client.name), "who may be here was sent away"
                self.clients.remove(client)
            case m.Error() | m.Reply():
                assert message.id in client.waits, f"an answer to nothing, or a second one: {message}"
                del client.waits[message.id]
            case _:
                pass

    def worker_sees(self, worker: WorkerModel, message: Any) -> None:
        match message:
            case m.Error(id=-1):
                assert message.code == "unauthenticated"
                assert not self.may_serve(worker.name, worker.pool)
                self.workers.remove(worker)
            case m.Dispatch():
                assert self.may_serve(worker.name, worker.pool), "work for who may not serve"
                (whose,) = {c.name for c in self.clients if id128(c.number) == message.client}
                who = self.who(whose)
                assert who is not None
                assert who.may_call(worker.pool, message.command), "work of who may not call"
                worker.given.append(message)
            case m.SessionOpen():
                assert message.principal == self.sessions[message.session]
            case m.WorkerCancel():
                pass
            case _:
                pass

    # --- rules: coming ---

    @rule(name=st.sampled_from([*NAMES, USER]), place=st.integers(0, 3))
    def client_arrives(self, name: str, place: int) -> None:
        number = 10 + place
        peer, answers = self.bench.hello(name, number)
        others = {client.name for client in self.clients if client.number == number}
        (answer,) = [message for message, _ in answers]
        if self.is_client(name) and others <= {name}:
            assert isinstance(answer, m.Welcome)
            self.clients.append(ClientModel(number, peer, name))
        else:
            assert answer.code == ("unauthenticated" if self.who(name) is None else "permission_denied")

    @rule(name=st.sampled_from([*NAMES, USER]), pool=st.sampled_from(POOLS))
    def worker_arrives(self, name: str, pool: str) -> None:
        if len(self.workers) < 4:
            number = 1000 + 10 * self.number()
            peer = self.bench.connect(Side.WORKERS, name)
            known = [m.CommandInfo("echo"), m.CommandInfo("safe", idempotent=True)]
            self.bench.tell(peer, m.Register(id128(number), id128(number + 1), pool, 1, known, prefetch=1))
            (first, _), *rest = self.bench.take(peer)
            assert isinstance(first, m.Welcome) == self.may_serve(name, pool)
            if self.may_serve(name, pool):
                worker = WorkerModel(number, peer, name, pool)
                self.workers.append(worker)
                for message, _ in rest:
                    self.worker_sees(worker, message)
            self.collect()

    @rule(name=st.sampled_from(NAMES), which=st.integers(0, 3), impostor=st.sampled_from(NAMES))
    def worker_is_imitated(self, name: str, which: int, impostor: str) -> None:
        if which < len(self.workers) and impostor != self.workers[which].name:
            worker = self.workers[which]
            peer = self.bench.connect(Side.WORKERS, impostor)
            for message in (
                m.Register(id128(worker.number), id128(worker.number + 1), worker.pool, 1, []),
                m.Attach(id128(worker.number), id128(worker.number + 1)),
                m.Leave(),
            ):
                (answer,) = self.bench.say(peer, message)
                assert isinstance(answer[0], m.Error | m.Stranger)
            assert self.bench.core.state.workers[id128(worker.number)].peer == worker.peer

    @rule(name=st.sampled_from(NAMES), pool=st.sampled_from(POOLS), kills=st.booleans())
    def agent_speaks_of_everybody(self, name: str, pool: str, kills: bool) -> None:
        """An agent claims all workers there are: only its own are touched."""
        peer, answers = self.bench.parent(name, 5000 + self.number(), pool)
        it = self.who(name)
        assert isinstance(answers[0][0], m.Welcome) == (it is not None and it.may_serve(pool) and it.supervise)
        if not isinstance(answers[0][0], m.Welcome):
            return
        self.agents.append((peer, name, pool))
        for worker in list(self.workers):
            self.bench.tell(peer, m.Spawned(id128(worker.number), 1))
            if kills:
                self.bench.tell(peer, m.Died(id128(worker.number), m.Certificate("signal"), []))
                if worker.name == name:
                    self.workers.remove(worker)
            self.collect()
        self.bench.tell(peer, m.Bye())
        self.agents.pop()
        there = set(self.bench.core.state.workers)
        assert {id128(worker.number) for worker in self.workers} == there

    # --- rules: working ---

    @precondition(lambda self: self.clients)
    @rule(
        which=st.integers(0, 9), pool=st.sampled_from(POOLS), command=st.sampled_from(COMMANDS),
        size=st.integers(1, 15), burst=st.integers(1, 4), session=st.integers(-1, 3),
    )  # fmt: skip
    def request(self, which: int, pool: str, command: str, size: int, burst: int, session: int) -> None:
        client = self.clients[which % len(self.clients)]
        known = list(self.sessions)
        chosen = known[session] if 0 <= session < len(known) else None
        for _ in range(burst):
            self.one_request(client, m.Request(self.number(), pool, command, session=chosen), size)

    def one_request(self, client: ClientModel, message: m.Request, size: int) -> None:
        who = self.who(client.name)
        assert who is not None
        assert message.pool is not None
        own = [waits for one in self.clients if one.name == client.name for waits in one.waits.values() if waits]
        client.waits[message.id] = size
        self.bench.tell(client.peer, message, b"x" * size)
        mine = self.bench.inbox.pop(client.peer, [])
        refused = [(answer, body) for answer, body in mine if isinstance(answer, m.Error) and answer.id == message.id]
        if not who.may_call(message.pool, message.command):
            assert refused[0][0].code == "permission_denied"
        elif message.session is not None and self.sessions[message.session] not in ("", client.name):
            assert refused[0][0].code == "session_not_found"
        if not refused:
            self.was_accepted(client.name, who, own, size)
        for answer, body in mine:
            self.client_sees(client, answer, body)
        self.collect()

    def was_accepted(self, name: str, who: Principal, own: list[int], size: int) -> None:
        if not who.keyed:
            return
        assert who.max_in_flight is None or len(own) < who.max_in_flight
        assert who.max_queued_bytes is None or sum(own) + size <= who.max_queued_bytes
        self.was_let_through(name, who)

    def was_let_through(self, name: str, who: Principal) -> None:
        times = self.accepted.setdefault(name, [])
        times.append(self.bench.now)
        if who.rate_per_s is not None:
            for place, first in enumerate(times):
                most = who.rate_per_s * (times[-1] - first + 1e-5) + max(who.rate_per_s, 1.0)
                assert len(times) - place <= most + 1e-6, "faster than its rate"

    @precondition(lambda self: self.clients)
    @rule(which=st.integers(0, 9), pool=st.sampled_from(POOLS))
    def open_session(self, which: int, pool: str) -> None:
        if len(self.sessions) < 4:
            client = self.clients[which % len(self.clients)]
            order = m.Open(self.number(), id128(900_000 + self.count), pool)
            client.waits[order.id] = 0
            self.sessions[order.session] = "" if client.name == USER else client.name
            self.bench.tell(client.peer, order, b"\x80")
            self.collect()
            if order.session not in self.bench.core.state.sessions:
                del self.sessions[order.session]
            elif (who := self.who(client.name)) is not None and who.keyed:
                self.was_let_through(client.name, who)

    @precondition(lambda self: self.clients and self.sessions)
    @rule(which=st.integers(0, 9), session=st.integers(0, 3), verb=st.sampled_from(["attach", "renew", "close"]))
    def ask_of_session(self, which: int, session: int, verb: str) -> None:
        client = self.clients[which % len(self.clients)]
        chosen = list(self.sessions)[session % len(self.sessions)]
        number = self.number()
        answers = self.bench.say(client.peer, m.Session(number, chosen, verb))
        if self.sessions[chosen] not in ("", client.name):
            (answer,) = [message for message, _ in answers]
            assert (answer.id, answer.code) == (number, "session_not_found")
        client.waits[number] = 0
        for message, body in answers:
            self.client_sees(client, message, body)
        self.collect()

    @precondition(lambda self: self.clients)
    @rule(which=st.integers(0, 9), what=st.sampled_from(["requests", "sessions", "workers", "deaths"]))
    def look(self, which: int, what: str) -> None:
        client = self.clients[which % len(self.clients)]
        who = self.who(client.name)
        assert who is not None
        ((message, body),) = self.bench.say(client.peer, m.Query(1, what))
        if isinstance(message, m.Error) and message.code == "resource_exhausted":
            assert who.rate_per_s is not None
            return
        if who.keyed:
            self.was_let_through(client.name, who)
        if who.read:
            return
        if what == "deaths":
            assert message.code == "permission_denied"
            return
        rows = msgpack.unpackb(body[0])
        if what == "workers":
            ids = [row["request"].split(" ")[1] for row in rows if row["request"]]
            own = {f"{id128(c.number).hex()[:8]}-{n}" for c in self.clients if c.name == client.name for n in c.waits}
            assert set(ids) <= own
        else:
            assert {row["principal"] for row in rows} <= {client.name}

    @precondition(lambda self: any(worker.given for worker in self.workers))
    @rule(which=st.integers(0, 3))
    def answer(self, which: int) -> None:
        busy = [worker for worker in self.workers if worker.given]
        worker = busy[which % len(busy)]
        order = worker.given.pop(0)
        self.bench.tell(worker.peer, m.WorkerReply(order.client, order.id, order.attempt), b"r")
        self.collect()

    @precondition(lambda self: self.clients)
    @rule(which=st.integers(0, 9), pick=st.integers(0, 9))
    def cancel_anothers(self, which: int, pick: int) -> None:
        """CANCEL of another's request does nothing, whatever its number."""
        client = self.clients[which % len(self.clients)]
        keys = [key for key in self.bench.core.state.requests if key[0] != id128(client.number)]
        if keys:
            key = keys[pick % len(keys)]
            before = self.bench.core.state.requests[key].cancelled
            if (id128(client.number), key[1]) not in self.bench.core.state.requests:
                self.bench.tell(client.peer, m.Cancel(key[1]))
                assert self.bench.core.state.requests[key].cancelled == before
                self.collect()

    # --- rules: going, and change ---

    @rule(which=st.integers(0, 3), leaves=st.booleans())
    def worker_goes(self, which: int, leaves: bool) -> None:
        if which < len(self.workers):
            worker = self.workers.pop(which)
            if leaves:
                self.bench.tell(worker.peer, m.Leave())
            else:
                self.bench.perform(self.bench.core.undeliverable(worker.peer, m.Heartbeat(), self.bench.now))
            self.collect()

    @rule(which=st.integers(0, 9))
    def client_goes(self, which: int) -> None:
        if which < len(self.clients):
            client = self.clients.pop(which)
            self.bench.tell(client.peer, m.Bye())
            self.collect()

    @rule(chosen=policies)
    def go_by(self, chosen: list[Principal]) -> None:
        """Another policy: who may stay is not told anything, and who may not is gone."""
        self.known = {one.name: one for one in chosen}
        for name in NAMES:
            before = self.bench.core.state.principals.get(name)
            if before is None or name not in self.known or before.rate_per_s != self.known[name].rate_per_s:
                self.accepted.pop(name, None)
        self.bench.perform(self.bench.core.adopt(policy(*chosen), self.bench.now))
        self.collect()
        assert all(self.is_client(client.name) for client in self.clients)
        assert all(self.may_serve(worker.name, worker.pool) for worker in self.workers)

    @rule(seconds=st.sampled_from([0.01, 0.3, 2.0]))
    def time_passes(self, seconds: float) -> None:
        for worker in self.workers:
            self.bench.tell(worker.peer, m.Heartbeat())
        self.bench.advance(seconds)
        self.collect()

    # --- what must hold ---

    @invariant()
    def everybody_here_may_be_here(self) -> None:
        if not hasattr(self, "bench"):
            return
        state = self.bench.core.state
        assert {client.peer for client in self.clients} == {peer for peer in state.parties if peer.side is Side.CLIENTS}
        assert {id128(worker.number) for worker in self.workers} == set(state.workers)
        for session in state.sessions.values():
            assert not session.principal or session.principal in self.known

    @invariant()
    def what_waits_may_be_called(self) -> None:
        for request in getattr(self, "bench", KeyedBench()).core.state.requests.values():
            if request.worker is None:
                (name,) = {client.name for client in self.clients if id128(client.number) == request.key[0]}
                who = self.who(name)
                assert who is not None
                assert who.may_call(request.pool.name, request.command)

    def teardown(self) -> None:
        """Heal: everybody may do everything, both pools have workers, and all is answered."""
        if not hasattr(self, "bench"):
            return
        self.go_by([keyed(name, call=(("*", "*"),), serve=("*",), supervise=True) for name in NAMES])
        for pool in POOLS:
            if not any(worker.pool == pool for worker in self.workers):
                self.workers = self.workers[:]
                number = 80_000 + 10 * self.number()
                peer = self.bench.server("ann", number, pool)
                worker = WorkerModel(number, peer, "ann", pool)
                self.workers.append(worker)
        for _ in range(30):
            while any(worker.given for worker in self.workers):
                self.answer(0)
            self.time_passes(2.0)
        assert not any(client.waits for client in self.clients), "it was never answered"
        assert not self.bench.core.state.requests


PrincipalsMachine.TestCase.settings = hypothesis_settings(
    max_examples=80, stateful_step_count=50, deadline=None, derandomize=True
)
TestPrincipals = PrincipalsMachine.TestCase
