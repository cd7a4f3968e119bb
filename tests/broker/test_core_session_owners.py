"""Sessions of those who have keys: nobody else may use them, or learn that they are there."""

from __future__ import annotations

import pytest
from broker_peers import POOL, id128
from keyed_peers import EVERYBODY, USER, KeyedBench, policy, refusal

from maitred.broker.core.effects import Peer
from maitred.broker.core.sessions import SETTLING_S
from maitred.broker.core.settings import PoolSettings
from maitred.protocol import messages as m

SESSION, UNKNOWN = id128(90), id128(91)


def opened(who: str = "alice", settled: bool = True) -> tuple[KeyedBench, Peer, Peer]:
    """A bench, a client of this principal, and the worker that owns its session."""
    bench = KeyedBench(pools=[PoolSettings(POOL), PoolSettings("neural")])
    if settled:
        bench.advance(SETTLING_S + 1)
    worker, client = bench.server(), bench.caller(who)
    bench.tell(client, m.Open(1, SESSION, POOL), b"\x80")
    bench.take(client)
    return bench, client, worker


def test_a_worker_is_told_whose_a_session_is() -> None:
    for who, principal in [("alice", "alice"), (USER, "")]:
        bench, _, worker = opened(who, settled=False)
        (order,) = [message for message, _ in bench.take(worker) if isinstance(message, m.SessionOpen)]
        assert order.principal == principal


@pytest.mark.parametrize("verb", ["attach", "renew", "close"])
@pytest.mark.parametrize("who", ["bob", USER, "root"])
def test_to_others_it_is_not_there(verb: str, who: str) -> None:
    bench, _, _ = opened()
    other = bench.caller(who, n=8)
    code, text, known = refusal(bench.say(other, m.Session(1, SESSION, verb)))
    unknown = refusal(bench.say(other, m.Session(2, UNKNOWN, verb)))
    assert (code, text.replace(SESSION.hex(), "X"), list(known)) == (
        "session_not_found", unknown[1].replace(UNKNOWN.hex(), "X"), list(unknown[2])
    )  # fmt: skip
    assert SESSION in bench.core.state.sessions


@pytest.mark.parametrize("pool", [POOL, None, "neural"])
def test_a_request_of_it_by_others_is_answered_as_of_an_unknown_one(pool: str | None) -> None:
    bench, _, worker = opened()
    bench.take(worker)
    bob = bench.caller("bob", n=8)
    known = refusal(bench.call(bob, 1, pool=pool, session=SESSION))
    unknown = refusal(bench.call(bob, 2, pool=pool, session=UNKNOWN))
    assert known[0] == unknown[0] == "session_not_found"
    assert known[1].replace(SESSION.hex(), "") == unknown[1].replace(UNKNOWN.hex(), "")
    assert not bench.orders(worker)


def test_another_process_of_the_same_key_may_use_it() -> None:
    bench, client, worker = opened()
    other = bench.caller("alice", n=8)
    assert isinstance(bench.say(other, m.Session(1, SESSION, "attach"))[0][0], m.Reply)
    assert bench.call(other, 2, session=SESSION) == []
    bench.answer(worker)
    bench.take(other)
    assert isinstance(bench.say(other, m.Session(3, SESSION, "close"))[0][0], m.Reply)
    assert isinstance(bench.take(client)[0][0], m.SessionEnded)


def test_without_a_key_who_knows_the_id_may_use_it() -> None:
    bench, _, _ = opened(USER)
    for number, who in enumerate((USER, "bob")):
        other = bench.caller(who, n=8 + number)
        assert isinstance(bench.say(other, m.Session(1, SESSION, "attach"))[0][0], m.Reply)


def held(principal: str, epoch: int = 3, session: bytes = SESSION) -> m.SessionHeld:
    return m.SessionHeld(session, id128(7), epoch, 60.0, 20.0, served=5, principal=principal)


def test_a_restarted_broker_learns_whose_it_is() -> None:
    bench = KeyedBench()
    worker = bench.server()
    bench.tell(worker, held("alice"), b"\x80")
    assert refusal(bench.say(bench.caller("bob", n=8), m.Session(1, SESSION, "attach")))[0] == "session_not_found"
    alice = bench.caller("alice")
    assert isinstance(bench.say(alice, m.Session(1, SESSION, "attach"))[0][0], m.Reply)
    assert bench.core.state.accounts["alice"].sessions == 1


def test_who_asked_for_one_that_was_supposed_is_looked_at_again() -> None:
    bench = KeyedBench()
    worker, alice, bob = bench.server(), bench.caller("alice"), bench.caller("bob", n=8)
    for peer in (alice, bob):
        assert bench.say(peer, m.Session(1, SESSION, "attach")) == []
        assert bench.call(peer, 2, session=SESSION) == []
    bench.tell(worker, held("alice"), b"\x80")
    assert [(answer.id, answer.code) for answer, _ in bench.take(bob)] == [
        (1, "session_not_found"), (2, "session_not_found")
    ]  # fmt: skip
    assert isinstance(bench.take(alice)[0][0], m.Reply)
    assert [order.client for order in bench.answer(worker)] == [id128(7)]
    bench.take(alice)
    bench.say(alice, m.Session(3, SESSION, "close"))
    assert bench.take(bob) == [], "it is told of nothing"


def test_a_session_of_a_key_that_is_gone_is_not_learnt() -> None:
    bench = KeyedBench()
    worker = bench.server()
    assert bench.say(worker, held("mallory"), b"\x80") == [(m.SessionClose(SESSION, "closed"), [])]
    assert not bench.core.state.sessions


def test_a_worker_cannot_take_a_session_of_another_pool_principal_or_worker() -> None:
    bench = KeyedBench(pools=[PoolSettings(POOL), PoolSettings("neural")])
    owner, alice = bench.server(), bench.caller("alice")
    bench.say(alice, m.Open(1, SESSION, POOL), b"\x80")
    state = bench.core.state
    thieves = [
        (bench.server("work", n=200, pool="neural"), "alice"),
        (bench.server("work", n=300), "bob"),
        (bench.server("work", n=400), ""),
        (bench.server("rival", n=500), "alice"),
    ]
    for thief, principal in thieves:
        assert bench.say(thief, held(principal, epoch=9), b"\x80") == [(m.SessionClose(SESSION, "closed"), [])]
        assert state.sessions[SESSION].worker is state.workers[id128(100)]
    assert state.workers[id128(100)].peer == owner
    assert len(list(bench.events("protocol.refused"))) == len(thieves)


def test_one_that_was_asked_for_in_a_pool_is_not_given_by_a_worker_of_another() -> None:
    bench = KeyedBench(pools=[PoolSettings(POOL), PoolSettings("neural")])
    other, alice = bench.server(pool="neural"), bench.caller("alice")
    bench.call(alice, 1, session=SESSION)
    assert bench.say(other, held("alice"), b"\x80") == [(m.SessionClose(SESSION, "closed"), [])]
    bench.tell(bench.server(n=200), held("alice"), b"\x80")
    assert bench.core.state.sessions[SESSION].worker is bench.core.state.workers[id128(200)]


def test_sessions_of_a_key_that_is_taken_away_end_and_their_memory_is_freed() -> None:
    bench, alice, worker = opened()
    bench.take(worker)
    bench.perform(bench.core.adopt(policy(*[one for one in EVERYBODY if one.name != "alice"]), bench.now))
    assert not bench.core.state.sessions
    assert m.SessionClose(SESSION, "closed") in [message for message, _ in bench.take(worker)]
    assert bench.take(alice)[0][0].code == "unauthenticated"
