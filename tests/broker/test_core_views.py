"""What each sees of the broker's tables."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from broker_peers import POOL, id128
from keyed_peers import ANYBODY, SECRET, USER, KeyedBench, refusal

from maitred.broker.core.effects import Peer
from maitred.protocol import messages as m

PLAIN = ("pools", "workers", "requests", "sessions", "broker", "readiness")


def table(bench: KeyedBench, peer: Peer, what: str) -> Any:
    ((message, body),) = bench.say(peer, m.Query(99, what))
    assert isinstance(message, m.Reply), message
    return msgpack.unpackb(body[0])


def full(n: int = 3) -> tuple[KeyedBench, dict[str, Peer]]:
    """Everybody has a request that runs, one that waits, and a session; a worker has died."""
    bench = KeyedBench()
    bench.server(slots=n)
    agent, _ = bench.parent()
    bench.tell(agent, m.Died(id128(66), m.Certificate("oom", stderr="their words"), []))
    peers = {who: bench.caller(who, n=10 + k) for k, who in enumerate(("alice", "bob", ANYBODY, USER, "root"))}
    for number, peer in enumerate(peers.values()):
        bench.tell(peer, m.Open(1, id128(80 + number), POOL), b"\x80")
        bench.call(peer, 2)
        bench.take(peer)
    return bench, peers


@pytest.mark.parametrize("who", ["alice", "bob", ANYBODY])
def test_who_may_not_read_sees_his_own_and_what_is_nobodys(who: str) -> None:
    bench, peers = full()
    peer, name = peers[who], None if ":" in who else who
    assert all(table(bench, peer, what) for what in PLAIN)
    requests, sessions = table(bench, peer, "requests"), table(bench, peer, "sessions")
    client = bench.core.state.parties[peer]
    assert [row["principal"] for row in requests] == [row["principal"] for row in sessions] == [name]
    assert [row["id"][:8] for row in requests] == [client.id.hex()[:8]]
    assert table(bench, peer, "broker")["counts"] == {}
    (worker,) = table(bench, peer, "workers")
    assert worker["note"] is None
    running = [row for row in requests if row["state"] == "running"]
    assert (worker["request"] is not None) == (who == "alice"), "whose request came first"
    assert running or who != "alice"
    for what in ("deaths", "quarantine"):
        code, _, known = refusal(bench.say(peer, m.Query(1, what)))
        assert (code, known["missing"]) == ("permission_denied", "read")


@pytest.mark.parametrize("who", [USER, "root"])
def test_who_may_read_sees_everything(who: str) -> None:
    bench, peers = full()
    peer = peers[who]
    assert len(table(bench, peer, "requests")) == len(table(bench, peer, "sessions")) == len(peers)
    assert {row["principal"] for row in table(bench, peer, "requests")} == {"alice", "bob", "root", None}
    assert table(bench, peer, "broker")["counts"]
    assert table(bench, peer, "deaths")[0]["stderr"] == "their words"
    assert table(bench, peer, "quarantine") == []
    assert table(bench, peer, "workers")[0]["request"] is not None


def test_processes_of_one_key_see_each_other_and_others_do_not() -> None:
    bench, _ = full()
    assert len(table(bench, bench.caller("alice", n=50), "requests")) == 1
    assert len(table(bench, bench.caller("alice", n=50), "sessions")) == 1
    assert table(bench, bench.caller(ANYBODY, n=51), "requests") == []
    assert table(bench, bench.caller(ANYBODY, n=51), "sessions") == []


def test_who_takes_up_an_id_after_a_key_does_not_see_its_sessions() -> None:
    bench, peers = full()
    bench.tell(peers["alice"], m.Bye())
    assert table(bench, bench.caller(ANYBODY, n=10), "sessions") == []


def test_who_shows_the_secret_sees_everything() -> None:
    bench, peers = full()
    assert len(table(bench, bench.caller(ANYBODY, n=60, secret=SECRET), "requests")) == len(peers)


def test_a_worker_that_died_of_a_request_is_told_of_to_whose_it_was() -> None:
    bench = KeyedBench()
    bench.server("agency", n=100)
    agent, _ = bench.parent()
    alice, bob = bench.caller("alice"), bench.caller("bob", n=8)
    bench.call(alice, 1)
    bench.call(bob, 1)
    bench.tell(agent, m.Died(id128(100), m.Certificate("oom", stderr="its last"), [(id128(7), 1)]))
    code, _, known = refusal(bench.take(alice))
    assert (code, known["certificate"]["stderr"]) == ("worker_lost", "its last")
    assert bench.take(bob) == []
