"""Another policy while the broker runs."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from broker_peers import POOL, details, id128
from keyed_peers import AGENCY, ALICE, ANYBODY, BOB, ROOT, SECRET, USER, WORK, KeyedBench, keyed, policy, refusal

from maitred.broker.core.effects import Peer, Reload
from maitred.broker.core.policy import INSECURE, Principal
from maitred.broker.core.settings import PoolSettings
from maitred.protocol import messages as m


def adopt(bench: KeyedBench, *principals: Principal, **more: Any) -> dict[str, Any]:
    """Have the broker go by these; returns what the event says."""
    bench.perform(bench.core.adopt(policy(*principals, **more), bench.now))
    return list(bench.events("auth.reloaded"))[-1].fields


def told(bench: KeyedBench, peer: Peer) -> list[tuple[int, str]]:
    return [(message.id, message.code) for message, _ in bench.take(peer) if isinstance(message, m.Error)]


def test_a_client_whose_key_is_gone_is_told_and_given_up() -> None:
    bench = KeyedBench()
    worker, alice, bob = bench.server(), bench.caller("alice"), bench.caller("bob", n=8)
    bench.call(alice, 1)
    bench.call(bob, 1)
    bench.call(alice, 2)
    bench.take(worker)
    found = adopt(bench, BOB, WORK)
    assert found == {"principals": 2, "clients": 1, "agents": 0, "workers": 0, "sessions": 0, "requests": 0}
    (answer,) = bench.take(alice)
    assert (answer[0].id, answer[0].code) == (-1, "unauthenticated")
    assert "no longer authorised" in answer[0].message
    assert [type(message) for message, _ in bench.take(worker)] == [m.WorkerCancel]
    assert [key[0] for key in bench.core.state.requests] == [id128(8)]
    assert isinstance(bench.say(alice, m.Request(3, POOL, "echo"), b"")[0][0], m.Stranger)
    assert refusal(bench.say(alice, m.Hello(id128(7))))[0] == "unauthenticated"
    assert "alice" not in bench.core.state.accounts


def test_a_worker_whose_key_is_gone_is_lost_with_what_it_holds() -> None:
    bench = KeyedBench()
    first, second = bench.server("work", n=100, slots=3), bench.server("work", n=200, slots=3)
    bob = bench.caller("bob")
    for number, command in enumerate(["echo", "echo", "safe", "safe"]):
        assert bench.call(bob, number, command) == []
    found = adopt(bench, BOB)
    assert found["workers"] == 2
    lost = bench.take(bob)
    assert [details(answer)[0] for answer in lost] == ["worker_lost"] * 2
    assert details(lost[0])[1]["certificate"]["cause"] == "operator"
    for worker in (first, second):
        kinds = [type(message) for message, _ in bench.take(worker)]
        assert kinds.count(m.WorkerCancel) == 2
        assert kinds.count(m.Error) == 1
        assert kinds.count(m.Dispatch) == 2, "nothing was given to one that was about to go"
    assert not bench.core.state.workers
    assert bench.core.state.pools[POOL].queued == 2
    assert not bench.core.state.quarantine.entries
    adopt(bench, BOB, keyed("other", serve=("*",)))
    _, answers = bench.register("other", n=300, slots=2)
    assert [type(message) for message, _ in answers] == [m.Welcome, m.Dispatch, m.Dispatch]


def test_what_waits_goes_to_the_workers_that_stay() -> None:
    bench = KeyedBench()
    bench.server("work", n=100)
    stays, bob = bench.server("agency", n=200), bench.caller("bob")
    for number in range(4):
        bench.call(bob, number, "safe")
    served = len(bench.answer(stays))
    adopt(bench, BOB, AGENCY)
    for _ in range(6):
        served += len(bench.answer(stays))
    assert served == 4
    assert all(isinstance(message, m.Reply) for message, _ in bench.take(bob))


@pytest.mark.parametrize(
    ("changed", "agents", "workers"),
    [
        (keyed("agency", serve=("*",)), 0, 1),
        (keyed("agency", serve=("neural",), supervise=True), 0, 0),
        (keyed("agency", call=(("*", "*"),)), 0, 0),
        (keyed("agency", serve=(POOL,), supervise=True), 1, 1),
    ],
)
def test_agents_and_workers_need_their_rights_still(changed: Principal, agents: int, workers: int) -> None:
    bench = KeyedBench()
    agent, _ = bench.parent("agency")
    worker = bench.server("agency", n=100)
    bench.tell(agent, m.Spawned(id128(100), 5))
    adopt(bench, changed)
    assert (len(bench.core.state.agents), len(bench.core.state.workers)) == (agents, workers)
    assert told(bench, agent) == [(-1, "unauthenticated")] * (1 - agents)
    assert told(bench, worker) == [(-1, "unauthenticated")] * (1 - workers)


def test_what_waits_and_may_not_be_called_any_more_fails_and_what_runs_stays() -> None:
    bench = KeyedBench(pools=[PoolSettings(POOL), PoolSettings("neural")])
    worker, alice, bob = bench.server(), bench.caller("alice"), bench.caller("bob", n=8)
    bench.tell(alice, m.Open(9, id128(90), POOL), b"\x80")
    bench.tell(alice, m.Watch(10, POOL))
    bench.take(alice)
    bench.call(alice, 1)
    bench.call(alice, 2)
    bench.call(alice, 3, session=id128(90))
    bench.call(bob, 1)
    found = adopt(bench, keyed("alice", call=(("neural", "*"),)), BOB, WORK)
    assert found["requests"] == 2
    assert sorted(told(bench, alice)) == [(n, "permission_denied") for n in (2, 3, 10)]
    bench.answer(worker)
    (answer,) = bench.take(alice)
    assert isinstance(answer[0], m.Reply)
    assert refusal(bench.call(alice, 4))[0] == "permission_denied"
    assert [order.client for order in bench.answer(worker)] == [id128(8)]


def test_rights_and_limits_change_for_who_is_here() -> None:
    bench = KeyedBench()
    bench.server()
    alice = bench.caller("alice")
    assert refusal(bench.say(alice, m.Operate(1, "pause", "neural")))[0] == "permission_denied"
    more = keyed("alice", call=ALICE.call, operate=True, read=True, max_in_flight=1)
    adopt(bench, more, WORK)
    assert refusal(bench.say(alice, m.Operate(1, "pause", "neural")))[0] == "invalid_argument"
    assert isinstance(bench.say(alice, m.Query(2, "deaths"))[0][0], m.Reply)
    assert bench.call(alice, 3) == []
    assert refusal(bench.call(alice, 4))[2]["reason"] == "principal_limit"
    adopt(bench, ALICE, WORK)
    assert bench.call(alice, 5) == []
    assert refusal(bench.say(alice, m.Query(2, "deaths")))[0] == "permission_denied"


def test_a_key_that_is_somebody_else_now_has_to_introduce_itself() -> None:
    bench = KeyedBench()
    alice = bench.caller("alice")
    user = bench.users[alice].partition(":")[2]
    renamed = policy(BOB)
    keys = {user: keyed("alison", call=(("*", "*"),)), **renamed.keys}
    bench.perform(bench.core.adopt(type(renamed)(keys, SECRET, unnamed=None), bench.now))
    assert told(bench, alice) == [(-1, "unauthenticated")]
    assert isinstance(bench.say(alice, m.Hello(id128(7)))[0][0], m.Welcome)
    assert bench.core.state.identities[id128(7)].principal.name == "alison"


def test_who_has_no_key_stays_while_there_is_a_way_in() -> None:
    bench = KeyedBench()
    anybody, owner, user = (
        bench.caller(ANYBODY, n=1),
        bench.caller(ANYBODY, n=2, secret=SECRET),
        bench.caller(USER, n=3),
    )
    worker = bench.server(USER, secret=SECRET)
    assert adopt(bench, ALICE)["clients"] == 0
    assert bench.core.state.parties[owner].principal.operate
    assert bench.core.state.parties[anybody].principal.name == "anyone"
    adopt(bench, ALICE, open=INSECURE)
    assert bench.core.state.parties[anybody].principal.operate
    assert adopt(bench, ALICE, open=None)["clients"] == 2
    assert list(bench.core.state.parties) == [user, worker]
    adopt(bench, ALICE, secret="6" * 64)
    assert told(bench, worker) == [(-1, "unauthenticated")], "the secret that it showed is not the secret any more"
    assert list(bench.core.state.parties) == [user]


def test_the_same_policy_again_changes_nothing() -> None:
    bench = KeyedBench()
    bench.server()
    bench.parent()
    alice = bench.caller("alice")
    bench.call(alice, 1)
    found = adopt(bench, *bench.core.state.policy.keys.values())
    assert found == {"principals": 6, "clients": 0, "agents": 0, "workers": 0, "sessions": 0, "requests": 0}
    assert bench.take(alice) == []


# --- the verb ---


def test_an_operator_has_the_file_read_again() -> None:
    bench = KeyedBench()
    root = bench.caller("root")
    assert bench.say(root, m.Operate(5, "reload", "")) == []
    assert bench.reloads == [Reload(root, 5)]
    adopt(bench, ROOT)
    bench.perform(bench.core.reloaded(bench.reloads[0], {"keys": 1}, bench.now))
    ((answer, body),) = bench.take(root)
    assert (answer, msgpack.unpackb(body[0])) == (m.Reply(5), {"keys": 1})
    assert [note.fields["principal"] for note in bench.events("operator.reload")] == ["root"]


def test_a_file_that_cannot_be_gone_by_is_said_to_who_asked() -> None:
    bench = KeyedBench()
    root = bench.caller("root")
    bench.tell(root, m.Operate(5, "reload", ""))
    bench.perform(bench.core.reloaded(bench.reloads[0], "keys.alice.role: no such role", bench.now))
    assert refusal(bench.take(root))[:2] == ("invalid_argument", "keys.alice.role: no such role")


def test_who_took_his_own_key_away_is_told_so_before_the_answer() -> None:
    bench = KeyedBench()
    root = bench.caller("root")
    bench.tell(root, m.Operate(5, "reload", ""))
    adopt(bench, ALICE)
    bench.perform(bench.core.reloaded(bench.reloads[0], {}, bench.now))
    assert [type(message) for message, _ in bench.take(root)] == [m.Error, m.Reply]


def test_nobody_else_has_it_read() -> None:
    bench = KeyedBench()
    assert refusal(bench.say(bench.caller("alice"), m.Operate(5, "reload", "")))[0] == "permission_denied"
    assert not bench.reloads


@pytest.mark.parametrize("session", [None, id128(90)])
@pytest.mark.parametrize("ends", ["leaves", "dies", "with its key"])
def test_what_may_not_be_called_any_more_is_not_begun_again(ends: str, session: bytes | None) -> None:
    bench = KeyedBench(pools=[PoolSettings(POOL), PoolSettings("neural")])
    worker, alice = bench.server("work", n=100, slots=1, prefetch=1), bench.caller("alice")
    if session is not None:
        bench.tell(alice, m.Open(9, session, POOL), b"\x80")
        bench.tell(worker, m.Snapshot(session, 1), b"\x80")  # it can move
    bench.call(alice, 1, "safe", session=session)
    bench.take(alice)
    bench.take(worker)
    changed = keyed("alice", call=(("neural", "*"),))
    adopt(bench, changed, AGENCY, *([] if ends == "with its key" else [WORK]))
    other, answers = bench.register("agency", n=200)
    assert not [message for message, _ in answers if isinstance(message, m.Dispatch)]
    if ends == "leaves":
        bench.tell(worker, m.Leave())
    elif ends == "dies":
        bench.perform(bench.core.undeliverable(worker, m.Heartbeat(), bench.now))
    assert bench.orders(other) == []
    assert told(bench, alice) == [(1, "permission_denied")]
