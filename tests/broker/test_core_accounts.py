"""Shares and limits of those who have keys: a thousand processes of one key count as one."""

from __future__ import annotations

from typing import Any

import pytest
from broker_peers import POOL, id128
from hypothesis import given
from hypothesis import strategies as st
from keyed_peers import BOB, USER, KeyedBench, keyed, refusal

from maitred.broker.core.account import Meter
from maitred.broker.core.effects import Peer
from maitred.broker.core.settings import ClientSettings, PoolSettings
from maitred.protocol import messages as m

ALL = (("*", "*"),)
SERVES = keyed("work", serve=("*",))


def bench_of(*principals: Any, **changes: Any) -> KeyedBench:
    return KeyedBench(SERVES, BOB, *principals, **changes)


def crowd(bench: KeyedBench, who: str, clients: int, requests: int, first: int = 1000) -> list[Peer]:
    """So many processes of somebody's, which have sent so many requests each."""
    peers = [bench.caller(who, n=first + number) for number in range(clients)]
    for peer in peers:
        for number in range(requests):
            assert bench.call(peer, number + 1) == []
    return peers


def served(bench: KeyedBench, worker: Peer, count: int) -> list[bytes]:
    """The client ids of the next so many requests, in the order in which they are served."""
    order: list[bytes] = []
    while len(order) < count:
        order += [one.client for one in bench.answer(worker)]
    return order


def test_a_key_with_fifty_processes_is_served_every_second_turn() -> None:
    bench = bench_of(keyed("alice", call=ALL), pools=[PoolSettings(POOL, max_queue=5000)])
    worker = bench.server()
    crowd(bench, "alice", clients=50, requests=20)
    crowd(bench, "bob", clients=1, requests=20, first=7)
    order = served(bench, worker, 45)
    turns = [client == id128(7) for client in order]
    begins = turns.index(True)
    assert begins <= 2
    assert turns[begins : begins + 39] == [True, False] * 19 + [True]


def test_processes_without_keys_take_turns_as_before() -> None:
    bench = bench_of()
    worker = bench.server()
    for number in range(3):
        peer = bench.caller(USER, n=10 + number)
        for request in range(3):
            bench.call(peer, request + 1)
    order = served(bench, worker, 9)
    assert order[3:6] == [order[0], order[1], order[2]] or len(set(order[1:4])) == 3


def test_what_is_given_by_name_is_given_by_the_principals_own() -> None:
    given = {"alice": ClientSettings(weight=3), "vip": ClientSettings(weight=100)}
    bench = bench_of(keyed("alice", call=ALL), client=lambda name: given.get(name, ClientSettings()))
    worker = bench.server()
    alice = bench.caller("alice", n=8, name="nobody")
    bob = bench.caller("bob", n=7, name="vip")
    for peer in (bob, alice):
        for number in range(12):
            bench.call(peer, number + 1)
    turns = "".join("a" if client == id128(8) else "b" for client in served(bench, worker, 14))
    assert "baaabaaab" in turns


def test_max_in_flight_and_max_sessions_of_clients_hold_for_all_processes_of_a_key() -> None:
    limits = ClientSettings(max_in_flight=2, max_sessions=1)
    bench = bench_of(keyed("alice", call=ALL), client=lambda name: limits if name == "alice" else ClientSettings())
    bench.server()
    one, two = bench.caller("alice", n=1), bench.caller("alice", n=2)
    assert bench.call(one, 1) == bench.call(two, 1) == []
    for peer in (one, two):
        code, text, known = refusal(bench.call(peer, 2))
        assert (code, known["reason"], known["capacity"]) == ("resource_exhausted", "client_limit", 2)
        assert "key 'alice'" in text
    bench.say(one, m.Open(3, id128(50), POOL), b"\x80")
    assert refusal(bench.say(two, m.Open(3, id128(51), POOL), b"\x80"))[2]["reason"] == "client_sessions"
    bench.say(two, m.Session(4, id128(50), "close"))
    bench.tell(two, m.Open(5, id128(52), POOL), b"\x80")
    assert id128(52) in bench.core.state.sessions


# --- limits of the file ---


def test_unanswered_requests_of_a_principal_are_limited() -> None:
    bench = bench_of(keyed("alice", call=ALL, max_in_flight=3))
    worker = bench.server()
    peers = crowd(bench, "alice", clients=3, requests=1)
    code, text, known = refusal(bench.call(peers[0], 9))
    assert (code, known["reason"], known["capacity"]) == ("resource_exhausted", "principal_limit", 3)
    assert text == "key 'alice' has 3 requests unanswered, its limit is 3"
    assert "retry_after" not in known, "nothing is known of the pool's pace"
    (note,) = bench.events("client.limited")
    assert (note.fields["principal"], note.fields["reason"]) == ("alice", "principal_limit")
    assert bench.call(bench.caller("bob"), 1) == []
    bench.answer(worker)
    bench.take(peers[0])
    assert bench.call(peers[0], 10) == []


def test_the_wait_of_a_limit_is_told_from_the_pools_pace() -> None:
    bench = bench_of(keyed("alice", call=ALL, max_in_flight=2))
    worker, alice = bench.server(), bench.caller("alice")
    for number in range(1, 40):
        bench.call(alice, number)
        bench.now += 0.1
        bench.answer(worker)
    bench.take(alice)
    assert bench.call(alice, 100) == bench.call(alice, 101) == []
    wait = refusal(bench.call(alice, 102))[2]["retry_after"]
    assert wait == pytest.approx(0.1, rel=0.5)


def test_no_wait_is_told_where_its_requests_are_in_another_pool() -> None:
    pools = [PoolSettings(POOL), PoolSettings("other")]
    bench = bench_of(keyed("alice", call=ALL, max_in_flight=1), pools=pools)
    worker, bob, alice = bench.server(), bench.caller("bob", n=1), bench.caller("alice")
    for number in range(1, 40):
        bench.call(bob, number)
        bench.now += 0.1
        bench.answer(worker)
    bench.call(alice, 1, pool="other")
    assert "retry_after" not in refusal(bench.call(alice, 2))[2]


@pytest.mark.parametrize(("rate", "burst"), [(10.0, 10), (2.5, 2), (1.0, 1), (0.1, 1)])
def test_a_rate_admits_a_second_at_once_and_tells_the_wait_exactly(rate: float, burst: int) -> None:
    bench = bench_of(keyed("alice", call=ALL, rate_per_s=rate), pools=[PoolSettings(POOL, timeout_s=1000.0)])
    bench.server()
    one, two = bench.caller("alice", n=1), bench.caller("alice", n=2)
    for number in range(burst):
        assert bench.call(one if number % 2 else two, number + 1) == []
    for number in range(100, 105):
        code, text, known = refusal(bench.call(one, number))
        assert (code, known["reason"], known["capacity"]) == ("resource_exhausted", "rate", rate)
        assert f"{rate:g} requests in a second" in text
        early = 0.01 * known["retry_after"]
        bench.now += known["retry_after"] - early
        assert refusal(bench.call(two, number))[2]["retry_after"] == pytest.approx(early, rel=1e-3)
        bench.now += early
        assert bench.call(one, number + 100) == []


def test_questions_and_openings_count_by_the_rate_too() -> None:
    bench = bench_of(keyed("alice", call=ALL, rate_per_s=2.0))
    bench.server()
    alice = bench.caller("alice")
    assert isinstance(bench.say(alice, m.Query(1, "pools"))[0][0], m.Reply)
    assert isinstance(bench.say(alice, m.Open(2, id128(50), POOL), b"\x80")[0][0], m.Reply)
    for refused in (bench.say(alice, m.Query(3, "pools")), bench.say(alice, m.Open(4, id128(51), POOL), b"\x80")):
        code, _, known = refusal(refused)
        assert (code, known["reason"]) == ("resource_exhausted", "rate")
    assert refusal(bench.call(alice, 5))[2]["retry_after"] == pytest.approx(0.5)
    bench.now += 0.5
    assert isinstance(bench.say(alice, m.Query(6, "pools"))[0][0], m.Reply)


def test_what_is_refused_costs_no_share_of_the_rate() -> None:
    bench = bench_of(keyed("alice", call=((POOL, "echo"),), rate_per_s=1.0))
    bench.server()
    alice = bench.caller("alice")
    assert refusal(bench.call(alice, 1, "safe"))[0] == "permission_denied"
    assert bench.call(alice, 2) == []


def test_who_connects_again_has_no_second_anew() -> None:
    bench = bench_of(keyed("alice", call=ALL, rate_per_s=1.0))
    bench.server()
    alice = bench.caller("alice")
    assert bench.call(alice, 1) == []
    bench.tell(alice, m.Bye())
    assert refusal(bench.call(bench.caller("alice", n=8), 1))[2]["reason"] == "rate"


@given(
    rate=st.floats(0.05, 2000.0),
    waits=st.lists(st.one_of(st.just(0.0), st.floats(0.0, 3.0)), min_size=1, max_size=200),
)
def test_no_span_has_more_than_its_rate_and_a_second(rate: float, waits: list[float]) -> None:
    meter, now, accepted = Meter(), 1000.0, list[float]()
    for wait in waits:
        now += wait
        if not meter.wait_s(rate, now):
            meter.count(rate, now)
            accepted.append(now)
    for first in range(len(accepted)):
        for last in range(first, len(accepted)):
            span = accepted[last] - accepted[first]
            assert last - first + 1 <= rate * (span + 1e-5) + max(rate, 1.0) + 1e-6


def test_bytes_of_a_principal_are_limited() -> None:
    bench = bench_of(keyed("alice", call=ALL, max_queued_bytes=100))
    worker = bench.server()
    one, two = bench.caller("alice", n=1), bench.caller("alice", n=2)
    assert bench.call(one, 1, size=60) == bench.call(two, 1, size=40) == []
    code, _, known = refusal(bench.call(two, 2, size=1))
    assert (code, known["reason"], known["capacity"]) == ("resource_exhausted", "principal_bytes", 100)
    code, _, known = refusal(bench.call(two, 3, size=101))
    assert (code, known["limit"]) == ("payload_too_large", 100), "it would never be admitted"
    bench.answer(worker)
    bench.answer(worker)
    bench.take(two)
    assert bench.call(two, 4, size=100) == []


def test_a_place_outside_is_kept_for_all_processes_of_a_key_and_for_nobody_else() -> None:
    bench = bench_of(keyed("alice", call=ALL), pools=[PoolSettings(POOL, max_queue=2)])
    worker = bench.server()
    one, two, bob = bench.caller("alice", n=1), bench.caller("alice", n=2), bench.caller("bob", n=3)
    for number in range(1, 30):
        bench.call(bob, number)
        bench.now += 0.1
        bench.answer(worker)
    bench.take(bob)
    bench.call(bob, 100)
    bench.call(bob, 101)
    known = refusal(bench.call(one, 1))[2]
    outside = bench.core.state.pools[POOL].outside
    bench.now += known["retry_after"]
    assert outside.wait_left(known["ticket"], "alice", bench.now) == 0.0
    assert outside.wait_left(known["ticket"], id128(1), bench.now) is None
    bench.answer(worker)
    bench.take(bob)
    assert bench.call(two, 1, ticket=known["ticket"]) == []
    assert outside.kept_word == 1
