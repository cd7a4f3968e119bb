"""Workers that are to go: given nothing new, ended when they hold nothing, or when their time is over."""

from __future__ import annotations

from typing import Any

from agent_model import AgentModel
from broker_peers import POOL, Bench, id128

from maitred.broker.core.effects import Peer
from maitred.broker.core.settings import PoolSettings
from maitred.protocol import messages as m

CLIENT = id128(7)
SESSION = id128(900)
POOLS = [PoolSettings(POOL, drain_timeout_s=5.0)]


def house(workers: int = 2) -> tuple[Bench, Peer, AgentModel, list[Peer]]:
    bench = Bench(pools=POOLS)
    client = bench.client()
    agent = AgentModel(bench, size=workers)
    peers = agent.get_ready()
    for peer in [*peers, agent.peer]:
        bench.take(peer)
    return bench, client, agent, peers


def echo(n: int, **fields: Any) -> m.Request:
    return m.Request(n, POOL, "echo", 30.0, **fields)


def worker_id(agent: AgentModel, peer: Peer) -> bytes:
    return next(id128(number) for number, one in agent.ready.items() if one == peer)


def dismissals(bench: Bench, peer: Peer) -> list[m.Dismiss]:
    return [message for message, _ in bench.take(peer) if isinstance(message, m.Dismiss)]


def test_an_idle_worker_that_is_to_go_is_dismissed_at_once() -> None:
    bench, client, agent, (first, second) = house()
    old = worker_id(agent, first)
    bench.tell(agent.peer, m.Retire(old, "recycle", "served 1000 requests"))
    assert dismissals(bench, agent.peer) == [m.Dismiss(old, "recycle")]
    bench.tell(client, echo(1), b"")
    bench.tell(client, echo(2), b"")
    assert bench.orders(first) == []
    assert [order.id for order in bench.orders(second)] == [1]
    (row,) = [row for row in bench.core.table("workers", bench.now) if row["state"] == "draining"]
    assert row["note"] == "recycle: served 1000 requests"


def test_a_busy_worker_finishes_and_is_dismissed_with_its_answer() -> None:
    bench, client, agent, (first, _) = house()
    bench.tell(client, echo(1), b"")
    (order,) = bench.orders(first)
    bench.tell(agent.peer, m.Retire(worker_id(agent, first), "recycle"))
    assert dismissals(bench, agent.peer) == []
    bench.tell(first, m.WorkerReply(CLIENT, order.id, 1), b"")
    assert len(dismissals(bench, agent.peer)) == 1
    assert [type(message) for message, _ in bench.take(client)] == [m.Reply]


def test_it_is_dismissed_when_its_time_is_over_and_may_still_answer() -> None:
    bench, client, agent, (first, second) = house()
    bench.tell(client, echo(1), b"")
    bench.tell(agent.peer, m.Retire(worker_id(agent, first), "recycle"))
    for _ in range(9):
        bench.advance(0.5)
        agent.beat()
    assert dismissals(bench, agent.peer) == []
    bench.advance(0.6)
    assert len(dismissals(bench, agent.peer)) == 1
    (event,) = bench.events("worker.dismissed")
    assert event.fields["why"] == "its time was over"
    bench.tell(first, m.WorkerReply(CLIENT, 1, 1), b"")
    bench.tell(first, m.Leave())
    assert [type(message) for message, _ in bench.take(client)] == [m.Reply]
    assert second in {worker.peer for worker in bench.core.state.workers.values()}


def test_a_session_keeps_its_owner_and_is_served_there_until_the_time_is_over() -> None:
    bench, client, agent, (first, second) = house()
    bench.tell(client, m.Open(1, SESSION, POOL, 60.0), b"\x80")
    bench.tell(agent.peer, m.Retire(worker_id(agent, first), "recycle"))
    assert dismissals(bench, agent.peer) == []
    bench.take(client)
    for n in (2, 3):
        bench.tell(client, echo(n, session=SESSION), b"")
    assert [order.id for order in bench.orders(first)] == [2]
    bench.tell(first, m.WorkerReply(CLIENT, 2, 1), b"")
    assert [order.id for order in bench.orders(first)] == [3]
    for n in (4, 5, 6):
        bench.tell(client, m.Open(n, id128(900 + n), POOL, 60.0), b"\x80")
    opened = [message for message, _ in bench.take(second) if isinstance(message, m.SessionOpen)]
    assert len(opened) == 3, "a new session went there"
    bench.tell(first, m.WorkerReply(CLIENT, 3, 1), b"")
    assert dismissals(bench, agent.peer) == []
    bench.tell(client, m.Session(7, SESSION, "close"))
    assert len(dismissals(bench, agent.peer)) == 1


def test_a_session_whose_owner_has_to_go_is_moved_or_lost_when_it_leaves() -> None:
    bench, client, agent, (first, second) = house()
    bench.tell(client, m.Open(1, SESSION, POOL, 60.0), b"\x80")
    bench.tell(first, m.Snapshot(SESSION, 1), b"state")
    bench.tell(agent.peer, m.Retire(worker_id(agent, first), "recycle"))
    for _ in range(11):
        bench.advance(0.5)
        agent.beat()
    assert len(dismissals(bench, agent.peer)) == 1
    bench.tell(client, echo(2, session=SESSION), b"")
    assert bench.orders(first) == [], "a request was begun on a worker that was told to end"
    bench.tell(first, m.Leave())
    assert [type(message) for message, _ in bench.take(second)][-2:] == [m.SessionOpen, m.Dispatch]


def test_a_worker_without_an_agent_is_told_itself() -> None:
    bench = Bench(pools=POOLS)
    client, worker = bench.client(), bench.worker()
    bench.take(worker)
    bench.tell(client, m.Operate(1, "drain", id128(100).hex()))
    assert bench.take(worker) == [(m.Dismiss(id128(100), "operator"), [])]


def test_who_was_told_and_is_gone_is_replaced_by_who_can_be_told() -> None:
    bench, _, agent, (first, _) = house()
    old = worker_id(agent, first)
    bench.tell(agent.peer, m.Retire(old, "recycle"))
    bench.take(agent.peer)
    bench.perform(bench.core.undeliverable(agent.peer, m.Dismiss(old, "recycle"), bench.now))
    bench.tell(first, m.Heartbeat())
    bench.advance(1.1)
    assert dismissals(bench, first) == [m.Dismiss(old, "recycle")]
    bench.advance(1.1)
    assert dismissals(bench, first) == [], "it was told twice"


def test_an_agent_may_ask_again_and_one_that_never_came_to_be_may_go() -> None:
    bench, _, agent, (first, _) = house()
    old = worker_id(agent, first)
    for _ in range(2):
        bench.tell(agent.peer, m.Retire(old, "recycle"))
        assert dismissals(bench, agent.peer) == [m.Dismiss(old, "recycle")]
    bench.tell(agent.peer, m.Retire(id128(12345), "recycle"))
    assert dismissals(bench, agent.peer) == [m.Dismiss(id128(12345), "recycle")]


def test_an_agent_cannot_retire_the_workers_of_another() -> None:
    bench, _, agent, (first, _) = house()
    other = AgentModel(bench, 600, 1)
    bench.tell(other.peer, m.Retire(worker_id(agent, first), "recycle"))
    assert not any(worker.draining for worker in bench.core.state.workers.values())


def test_a_worker_that_comes_back_over_another_connection_is_still_to_go() -> None:
    bench, client, agent, (_, second) = house()
    bench.tell(client, echo(1), b"")
    number = next(iter(agent.ready))
    bench.tell(agent.peer, m.Retire(id128(number), "recycle"))
    again = bench.worker(number, holds=[(CLIENT, 1)])
    bench.take(again)
    for n in (2, 3):
        bench.tell(client, echo(n), b"")
    assert bench.orders(again) == []
    bench.tell(again, m.WorkerReply(CLIENT, 1, 1), b"")
    assert len(dismissals(bench, agent.peer)) == 1
    assert len(bench.orders(second)) == 1


def test_what_it_held_when_it_died_runs_elsewhere_and_its_certificate_says_why_it_was_to_go() -> None:
    bench, client, agent, (first, second) = house()
    bench.tell(client, m.Request(1, POOL, "safe"), b"")
    old = worker_id(agent, first)
    bench.tell(agent.peer, m.Retire(old, "oom", "900 MB of 1000 MB"))
    bench.tell(agent.peer, m.Died(old, m.Certificate("oom"), [(CLIENT, 1)]))
    assert [order.attempt for order in bench.orders(second)] == [2]
    assert bench.row("deaths")["note"] == "900 MB of 1000 MB"
    assert not bench.core.state.retiring
    assert not any(bench.events("worker.dismissed")), "a dead worker was dismissed"


def test_a_whole_pool_is_recycled_under_load_without_a_failure_or_a_dip() -> None:
    bench, client, agent, peers = house(4)
    bench.tell(client, m.Operate(9000, "recycle", POOL))
    bench.take(client)
    before = set(agent.ready)
    n = 0
    while set(agent.ready) & before:
        for _ in range(4):
            n += 1
            bench.tell(client, echo(n), b"")
        agent.obey()
        staying = [worker for worker in bench.core.state.workers.values() if not worker.draining]
        assert len(staying) >= 4, "fewer than there are to be"
        for peer in list(agent.ready.values()):
            for order in bench.orders(peer):
                bench.tell(peer, m.WorkerReply(CLIENT, order.id, order.attempt), b"")
        agent.live(0.1)
        assert n < 1000
    while bench.core.state.requests:
        for peer in agent.ready.values():
            for order in bench.orders(peer):
                bench.tell(peer, m.WorkerReply(CLIENT, order.id, order.attempt), b"")
        agent.live(0.1)
    answers = [message for message, _ in bench.take(client)]
    assert [type(message) for message in answers] == [m.Reply] * n
    assert len(agent.ready) == 4
    assert peers[0] not in agent.ready.values()
