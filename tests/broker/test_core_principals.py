"""Who is let in, what he may do there, and that he cannot take another's place."""

from __future__ import annotations

from typing import Any

import pytest
from broker_peers import POOL, id128
from keyed_peers import ALICE, ANYBODY, EVERYBODY, SECRET, USER, KeyedBench, key_of, keyed, policy, refusal

from maitred.broker.core.effects import Side
from maitred.broker.core.settings import PoolSettings
from maitred.protocol import limits
from maitred.protocol import messages as m

TWO = [PoolSettings("general"), PoolSettings("neural")]
STRANGE = f"key:{key_of('mallory')}"


# --- introductions ---


@pytest.mark.parametrize("user", ["mallory", "key:", "", "nonsense:x"])
def test_who_is_not_known_stays_a_stranger(user: str) -> None:
    bench = KeyedBench()
    client = bench.connect(Side.CLIENTS, user if user != "" else "x")
    worker = bench.connect(Side.WORKERS, "x")
    bench.users[client] = bench.users[worker] = STRANGE if user == "mallory" else user
    introductions: list[tuple[Any, m.Message]] = [
        (client, m.Hello(id128(1), secret=SECRET)),
        (worker, m.Register(id128(1), id128(2), POOL, 1, [])),
        (worker, m.Agent(id128(1), POOL)),
        (worker, m.Attach(id128(1), id128(2))),
    ]
    for peer, message in introductions:
        code, _, _ = refusal(bench.say(peer, message))
        assert code == "unauthenticated"
    assert not bench.core.state.parties
    assert isinstance(bench.say(client, m.Request(1, POOL, "echo"), b"")[0][0], m.Stranger)
    assert isinstance(bench.say(worker, m.Vouch([]))[0][0], m.Stranger)
    assert len(list(bench.events("auth.refused"))) == 4


def test_an_event_of_a_refusal_has_no_secret_and_no_whole_key() -> None:
    bench = KeyedBench()
    peer = bench.connect(Side.CLIENTS, STRANGE)
    bench.say(peer, m.Hello(id128(1), secret=SECRET))
    (note,) = bench.events("auth.refused")
    assert note.fields == {"side": "clients", "user": "key:mallory.…"}


def test_everybody_goes_by_his_own_rights() -> None:
    bench = KeyedBench(pools=TWO)
    for who, fields in [("alice", {}), (USER, {}), (ANYBODY, {}), (ANYBODY, {"secret": SECRET})]:
        bench.caller(who, n=100 + len(bench.core.state.parties), **fields)
    names = [party.principal.name for party in bench.core.state.parties.values() if not hasattr(party, "worker")]
    assert names == ["alice", "owner", "anyone", "owner"]


def test_a_key_that_calls_nothing_is_no_client() -> None:
    code, text, known = refusal(KeyedBench().hello("work")[1])
    assert code == "permission_denied"
    assert "key 'work'" in text
    assert known["missing"] == "call"


@pytest.mark.parametrize(
    ("who", "pool", "fields", "code"),
    [
        ("work", "general", {}, None),
        ("work", "other", {}, "permission_denied"),
        ("alice", "general", {}, "permission_denied"),
        (USER, "general", {}, "permission_denied"),
        (USER, "general", {"secret": SECRET}, None),
        (ANYBODY, "general", {"secret": "guess"}, "permission_denied"),
        (ANYBODY, "general", {"secret": SECRET}, None),
    ],
)
def test_who_may_register_a_worker(who: str, pool: str, fields: dict[str, str], code: str | None) -> None:
    bench = KeyedBench(pools=[*TWO, PoolSettings("other")])
    _, answers = bench.register(who, pool=pool, **fields)
    assert refusal(answers)[0] == code if code else isinstance(answers[0][0], m.Welcome)
    assert bool(bench.core.state.workers) == (code is None)


@pytest.mark.parametrize(
    ("who", "fields", "missing"),
    [
        ("agency", {}, None),
        ("work", {}, "supervise"),
        ("alice", {}, "serve"),
        (USER, {}, "serve"),
        (USER, {"secret": SECRET}, None),
    ],
)
def test_who_may_be_an_agent(who: str, fields: dict[str, str], missing: str | None) -> None:
    bench = KeyedBench()
    _, answers = bench.parent(who, **fields)
    if missing is None:
        assert isinstance(answers[0][0], m.Welcome)
    else:
        assert refusal(answers)[0::2] == ("permission_denied", {"missing": missing, "principal": who_is(who)})
    assert bool(bench.core.state.agents) == (missing is None)


def who_is(user: str) -> str:
    return "owner" if user == USER else user


def test_who_takes_the_name_of_a_connection_that_has_ended_speaks_for_nobody() -> None:
    """A DEALER may choose its name, and the broker hears late that a connection has ended."""
    bench = KeyedBench(pools=TWO)
    alice, worker = bench.caller("alice"), bench.server(pool="neural")
    assert bench.call(alice, 1, "infer_x", "neural") == []
    (order,) = bench.orders(worker)
    bench.perform(bench.core.hung_up(worker, bench.now))
    for peer in (alice, worker):
        bench.users[peer] = f"key:{key_of('bob')}"
    assert bench.say(worker, m.WorkerReply(order.client, order.id, order.attempt), b"\xc0") == []
    assert [note.fields["side"] for note in bench.events("auth.refused")] == ["workers"]
    assert len(bench.core.state.requests) == 1
    bench.perform(bench.core.hung_up(alice, bench.now))
    ((stranger, _),) = bench.say(alice, m.Cancel(1))
    assert isinstance(stranger, m.Stranger)


def test_hello_said_again_by_somebody_else_gives_him_nothing() -> None:
    """A connection's name may be taken by another one once its own has ended."""
    bench = KeyedBench()
    peer = bench.caller("alice")
    bench.users[peer] = STRANGE
    assert refusal(bench.say(peer, m.Hello(id128(7))))[0] == "unauthenticated"
    assert not bench.core.state.parties


def test_a_key_that_was_taken_back_is_told_the_same_however_often_it_comes() -> None:
    """Whoever says why, says it once: another sentence for the same would be said again."""
    bench = KeyedBench()
    peer, _ = bench.parent()
    bench.perform(bench.core.adopt(policy(ALICE), bench.now))
    ((gone, _),) = bench.take(peer)
    said = refusal(bench.say(peer, m.Agent(id128(500), "general")))
    assert said[:2] == (gone.code, gone.message)


def test_an_agent_cannot_have_more_workers_than_it_can_vouch_for() -> None:
    bench = KeyedBench()
    peer, _ = bench.parent()
    for number in range(limits.MAX_AGENT_WORKERS + 5):
        bench.say(peer, m.Spawned(id128(10_000 + number), 1))
    (agent,) = bench.core.state.agents.values()
    assert len(agent.workers) == limits.MAX_AGENT_WORKERS
    assert len([*bench.events("protocol.refused")]) == 5


# --- calling ---


def test_a_request_needs_the_right_to_call_that() -> None:
    bench = KeyedBench(pools=TWO)
    alice, worker = bench.caller("alice"), bench.server(pool="neural")
    code, text, known = refusal(bench.call(alice, 1, "train_x", "neural"))
    assert code == "permission_denied"
    assert text == "key 'alice' may not call 'neural:train_x'; it may call: general, neural:infer_*"
    assert known["missing"] == "call"
    assert bench.call(alice, 2, "infer_x", "neural") == []
    assert [order.command for order in bench.orders(worker)] == ["infer_x"]
    assert refusal(bench.call(alice, 3, "train_x", "neural"))[0] == "permission_denied"
    assert [note.fields["principal"] for note in bench.events("auth.denied")] == ["alice", "alice"]


def test_what_a_route_leads_to_needs_the_right_too() -> None:
    bench = KeyedBench(pools=TWO, route=lambda _: "neural")
    bench.server(pool="neural")
    assert refusal(bench.call(bench.caller("alice"), 1, "train", None))[0] == "permission_denied"


def test_a_session_and_a_watch_need_a_right_to_call_something_there() -> None:
    bench = KeyedBench(pools=[*TWO, PoolSettings("other")])
    alice = bench.caller("alice")
    for order in (m.Open(1, id128(9), "other"), m.Watch(2, "other")):
        code, text, _ = refusal(bench.say(alice, order, *([b"\x80"] if isinstance(order, m.Open) else [])))
        assert code == "permission_denied"
        assert "may not call 'other'" in text
    assert not bench.core.state.sessions
    assert isinstance(bench.say(alice, m.Watch(3, "neural"))[0][0], m.Pressure)


def test_only_an_operator_operates() -> None:
    bench = KeyedBench()
    for who, fields in [("alice", {}), (ANYBODY, {})]:
        code, _, known = refusal(bench.say(bench.caller(who, n=len(who), **fields), m.Operate(1, "pause", POOL)))
        assert (code, known["missing"]) == ("permission_denied", "operate")
    assert not bench.core.state.pools[POOL].paused
    assert [note.fields["principal"] for note in bench.events("operator.refused")] == ["alice", "anyone"]
    for who in ("root", USER):
        (answer,) = bench.say(bench.caller(who, n=50 + len(who)), m.Operate(1, "pause", POOL))
        assert isinstance(answer[0], m.Reply)
    assert [note.fields["principal"] for note in bench.events("operator.pause")] == ["root", "owner"]


# --- another's place ---


def test_a_client_id_is_bound_to_its_principal() -> None:
    bench = KeyedBench()
    bench.server()
    alice = bench.caller("alice", n=7)
    bench.call(alice, 1)
    peer, answers = bench.hello("bob", n=7)
    assert refusal(answers)[0] == "permission_denied"
    bench.tell(peer, m.Cancel(1))
    assert (id128(7), 1) in bench.core.state.requests
    bench.caller("alice", n=7)  # another connection of the same process
    bob = bench.caller("bob", n=8)
    bench.tell(bob, m.Cancel(1))
    assert not bench.core.state.requests[id128(7), 1].cancelled


def test_no_key_is_taken_for_who_has_none() -> None:
    bench = KeyedBench(*EVERYBODY, keyed("owner", call=(("*", "*"),)))
    bench.caller(USER, n=7)
    assert refusal(bench.hello("owner", n=7)[1])[0] == "permission_denied"


def test_a_worker_id_is_bound_to_its_principal() -> None:
    bench = KeyedBench()
    worker = bench.server("work", n=100)
    _, answers = bench.register("rival", n=100)
    assert refusal(answers)[0] == "protocol_error"
    assert bench.core.state.workers[id128(100)].peer == worker
    assert list(bench.events("protocol.refused"))


@pytest.mark.parametrize(
    ("registered", "attaches", "works"),
    [
        ("work", "work", True),
        ("work", "rival", False),
        ("work", USER, False),
        (USER, USER, True),
        (USER, "work", False),
    ],
)
def test_a_second_connection_is_of_the_same_principal(registered: str, attaches: str, works: bool) -> None:
    bench = KeyedBench()
    bench.server(registered, secret=SECRET)
    control = bench.connect(Side.WORKERS, attaches)
    (answer,) = bench.say(control, m.Attach(id128(100), id128(101)))
    assert isinstance(answer[0], m.Welcome) == works
    assert (bench.core.state.workers[id128(100)].control == control) == works


def test_an_agent_id_is_bound_to_its_principal() -> None:
    bench = KeyedBench()
    agent, _ = bench.parent("agency")
    _, answers = bench.parent("rival")
    assert refusal(answers)[0] == "protocol_error"
    assert bench.core.state.agents[id128(500)].peer == agent


def test_an_agent_speaks_of_its_own_workers_only() -> None:
    bench = KeyedBench()
    client = bench.caller("bob")
    worker = bench.server("agency", n=100)
    agent, _ = bench.parent("agency")
    rival, _ = bench.parent("rival", n=600)
    bench.call(client, 1)
    bench.tell(rival, m.Spawned(id128(100), 5))
    bench.tell(rival, m.Vouch([id128(100)]))
    bench.tell(rival, m.Report([m.WorkerState(id128(100), 12345)]))
    bench.tell(rival, m.Died(id128(100), m.Certificate("oom"), []))
    known = bench.core.state.workers[id128(100)]
    assert known.peer == worker
    assert known.tree_rss == 0
    assert len(list(bench.events("protocol.refused"))) == 2  # SPAWNED and DIED: the others are passed over
    bench.take(rival)
    assert isinstance(bench.say(rival, m.Retire(id128(100), "recycle"))[0][0], m.Dismiss)  # its own, if it has it
    assert known.retirement is None
    bench.tell(agent, m.Spawned(id128(100), 5))
    bench.tell(agent, m.Died(id128(100), m.Certificate("oom"), []))
    assert id128(100) not in bench.core.state.workers


def test_a_claim_made_before_the_worker_registers_is_worth_nothing() -> None:
    bench = KeyedBench()
    rival, _ = bench.parent("rival", n=600)
    agent, _ = bench.parent("agency")
    bench.tell(agent, m.Spawned(id128(100), 5))
    bench.tell(rival, m.Spawned(id128(100), 6))
    bench.tell(rival, m.Died(id128(100), m.Certificate("oom"), []))
    assert bench.core.state.pools[POOL].starting[id128(100)].pid == 5
    bench.tell(rival, m.Spawned(id128(200), 6))
    bench.server("agency", n=100)
    bench.server("agency", n=200)
    bench.tell(rival, m.Died(id128(200), m.Certificate("oom"), []))
    bench.tell(rival, m.Vouch([id128(200)]))
    worker = bench.core.state.workers[id128(200)]
    assert worker.vouched_at == bench.now
    bench.now += 1.0
    bench.tell(rival, m.Vouch([id128(200)]))
    assert worker.vouched_at < bench.now
    assert bench.core.state.agent_of(worker) is None


def test_a_certificate_is_not_written_over_by_another() -> None:
    bench = KeyedBench()
    agent, _ = bench.parent("agency")
    rival, _ = bench.parent("rival", n=600)
    bench.server("agency", n=100)
    bench.tell(agent, m.Died(id128(100), m.Certificate("oom"), []))
    bench.tell(rival, m.Died(id128(100), m.Certificate("signal"), []))
    assert [row["cause"] for row in bench.core.table("deaths", bench.now)] == ["oom"]


def test_an_agent_takes_no_place_of_another_principals() -> None:
    bench = KeyedBench()
    sizes = {"size": 1, "least": 1, "most": 4, "host": "h"}
    agent, _ = bench.parent("agency", **sizes)
    root = bench.caller("root")
    bench.say(root, m.Operate(1, "scale", f"{POOL}=3"))
    bench.perform(bench.core.undeliverable(agent, m.Heartbeat(), bench.now))
    _, answers = bench.parent("rival", n=600, **sizes)
    assert [type(message) for message, _ in answers] == [m.Welcome]
    _, answers = bench.parent("agency", n=501, **sizes)
    assert m.Resize(3) in [message for message, _ in answers]


def test_a_handshake_is_asked_for_under_the_policy_of_the_day() -> None:
    bench = KeyedBench()
    assert bench.core.may_enter(f"key:{key_of('alice')}", Side.CLIENTS)
    bench.perform(bench.core.adopt(policy(), bench.now))
    assert not bench.core.may_enter(f"key:{key_of('alice')}", Side.CLIENTS)
