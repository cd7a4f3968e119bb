"""Sizes through the core: what agents are told, and by what load."""

from __future__ import annotations

from typing import Any

from agent_model import AgentModel
from broker_peers import POOL, Bench, details, id128

from maitred.broker.core.effects import Peer
from maitred.broker.core.settings import PoolSettings
from maitred.protocol import messages as m

CLIENT = id128(7)
QUICK = PoolSettings(POOL, scale_up_after_s=0.4, scale_down_after_s=10.0, scale_cooldown_s=0.5, drain_timeout_s=5.0)


def send(bench: Bench, client: Peer, *ids: int, **fields: Any) -> None:
    for n in ids:
        bench.tell(client, m.Request(n, POOL, "echo", 60.0, **fields), b"")


def answer(bench: Bench, agent: AgentModel, ran: float = 0.1) -> int:
    """Every worker answers what it has."""
    done = 0
    for peer in list(agent.ready.values()):
        for order in bench.orders(peer):
            bench.tell(peer, m.WorkerReply(order.client, order.id, order.attempt, ran), b"")
            done += 1
    return done


def resized(bench: Bench) -> list[tuple[int, int, str]]:
    return [(n.fields["before"], n.fields["size"], n.fields["why"]) for n in bench.events("pool.resized")]


def test_a_burst_grows_the_pool_to_its_most_and_idleness_shrinks_it_again() -> None:
    bench = Bench(pools=[QUICK])
    client = bench.client()
    agent = AgentModel(bench, size=1, least=1, most=4)
    agent.get_ready()
    send(bench, client, *range(40))
    began = bench.now
    while agent.size < 4:
        agent.live(0.1)
        assert bench.now - began < 5.0
    agent.live(0.1)
    assert bench.row("pools")["total"] == 4
    while answer(bench, agent):
        agent.live(0.1)
    assert bench.row("pools")["queued"] == 0
    agent.live(9.5)
    assert agent.size == 4
    agent.live(1.5)
    assert agent.size == 1
    assert bench.row("pools")["total"] == 1
    assert all(dismissed.cause == "drain" for dismissed in agent.dismissed)


def test_load_that_comes_and_goes_changes_the_size_once() -> None:
    bench = Bench(pools=[QUICK])
    client = bench.client()
    agent = AgentModel(bench, size=1, least=1, most=4)
    agent.get_ready()
    n = 0
    for _ in range(15):  # four seconds of four callers, four of silence
        for _ in range(20):
            send(bench, client, *range(n, n + 4))
            n += 4
            agent.live(0.2)
            answer(bench, agent)
        while answer(bench, agent):
            pass
        agent.live(4.0)
    assert agent.size == 4
    assert all(after > before for before, after, _ in resized(bench)), "it shrank between two waves"


def test_a_pool_may_sleep_with_no_worker_and_a_request_wakes_it() -> None:
    bench = Bench(pools=[QUICK])
    client = bench.client()
    agent = AgentModel(bench, size=0, least=0, most=3)
    agent.live(30.0)
    assert bench.row("pools")["ready"]
    send(bench, client, 1)
    bench.advance(0.0)
    agent.obey()
    assert agent.size == 1
    (worker,) = agent.get_ready()
    assert [order.id for order in bench.orders(worker)] == [1]
    bench.tell(worker, m.WorkerReply(CLIENT, 1, 1), b"")
    agent.live(12.0)
    assert agent.size == 0
    assert bench.row("pools")["total"] == 0


def test_a_session_wakes_it_too_and_keeps_its_worker() -> None:
    bench = Bench(pools=[QUICK])
    client = bench.client()
    agent = AgentModel(bench, size=0, least=0, most=3)
    agent.live(1.03)
    bench.tell(client, m.Open(1, id128(900), POOL, 300.0), b"\x80")
    bench.advance(0.0)
    agent.obey()
    assert agent.size == 1
    agent.live(1.0)
    assert [type(message) for message, _ in bench.take(client)] == [m.Reply]
    agent.live(60.0)
    bench.tell(client, m.Heartbeat())
    assert agent.size == 1, "the owner of a session was taken away"


def test_workers_that_are_not_ready_go_first_and_then_those_that_nobody_misses() -> None:
    bench = Bench()
    client = bench.client()
    agent = AgentModel(bench, size=5)
    agent.get_ready(4)
    peers = list(agent.ready.values())
    send(bench, client, 2)
    (busy,) = [peer for peer in peers if bench.orders(peer)]
    bench.tell(client, m.Open(1, id128(900), POOL, 300.0), b"\x80")
    (owner,) = [peer for peer in peers if any(isinstance(told, m.SessionOpen) for told, _ in bench.take(peer))]
    assert busy is not owner
    scale(bench, client, 4)
    agent.obey()
    assert (len(agent.ready), agent.starting, agent.dismissed) == (4, [], [])
    scale(bench, client, 2)
    agent.obey()
    assert set(agent.ready.values()) == {owner, busy}
    scale(bench, client, 1)
    agent.obey()
    assert set(agent.ready.values()) == {owner, busy}, "one that works was ended"
    bench.tell(busy, m.WorkerReply(CLIENT, 2, 1), b"")
    agent.obey()
    assert set(agent.ready.values()) == {owner}


def scale(bench: Bench, client: Peer, size: int, n: int = 5000) -> None:
    answers = [told for told, _ in bench.say(client, m.Operate(n, "scale", f"{POOL}={size}"))]
    assert m.Reply(n) in answers, answers


def test_a_shrinking_agent_is_told_before_its_worker_is_dismissed() -> None:
    bench = Bench()
    client = bench.client()
    agent = AgentModel(bench, size=2)
    agent.get_ready()
    bench.take(agent.peer)
    scale(bench, client, 1)
    assert [type(message) for message, _ in bench.take(agent.peer)] == [m.Resize, m.Dismiss]


def test_several_agents_grow_where_there_is_most_room_and_shrink_at_the_victims() -> None:
    bench = Bench(pools=[QUICK])
    client = bench.client()
    small, large = AgentModel(bench, 500, 1, least=1, most=2), AgentModel(bench, 600, 1, least=1, most=6)
    scale(bench, client, 5)
    for agent in (small, large):
        agent.obey()
        agent.get_ready()
    assert (small.size, large.size) == (1, 4)
    scale(bench, client, 8)
    assert [peer.resized for peer in (small, large) if peer.obey() is None] == [[2], [4, 6]]
    code, _ = details(bench.say(client, m.Operate(1, "scale", f"{POOL}=9"))[0])
    assert code == "invalid_argument"


def test_a_new_broker_adopts_the_size_that_it_is_told() -> None:
    bench = Bench()
    agent = AgentModel(bench, size=5, least=1, most=8)
    assert bench.row("pools")["size"] == 5
    agent.live(2.0)
    assert agent.resized == []


def test_an_agent_that_comes_back_with_another_size_is_told_again() -> None:
    bench = Bench()
    client = bench.client()
    agent = AgentModel(bench, size=2)
    scale(bench, client, 4)
    bench.take(agent.peer)  # RESIZE is lost with the connection
    agent.connect()
    agent.obey()
    assert agent.size == 4


def test_an_agent_that_takes_the_place_of_one_that_was_killed_is_told_its_size() -> None:
    bench = Bench()
    client = bench.client()
    first = AgentModel(bench, 500, 2)
    scale(bench, client, 4)
    bench.perform(bench.core.undeliverable(first.peer, m.Heartbeat(), bench.now))
    second = AgentModel(bench, 600, 2, host="host-500")
    second.obey()
    assert second.size == 4
    third = AgentModel(bench, 700, 2, host="host-500")
    third.obey()
    assert third.size == 2, "a place was taken twice"


def test_it_may_come_before_the_old_one_is_known_to_be_dead() -> None:
    bench = Bench()
    client = bench.client()
    AgentModel(bench, 500, 2)
    scale(bench, client, 4)
    bench.advance(1.0)
    second = AgentModel(bench, 600, 2, host="host-500")
    second.live(4.0)
    assert second.size == 4
    assert bench.row("pools")["size"] == 4


def test_one_that_says_bye_or_has_other_bounds_leaves_no_size_behind() -> None:
    bench = Bench()
    client = bench.client()
    agent = AgentModel(bench, 500, 2)
    scale(bench, client, 4)
    bench.tell(agent.peer, m.Bye())
    assert AgentModel(bench, 600, 2, host="host-500").resized == []
    assert bench.row("pools")["size"] == 2


def test_a_degraded_pool_keeps_its_size() -> None:
    bench = Bench(pools=[QUICK])
    agent = AgentModel(bench, size=1, least=0, most=4)
    bench.tell(agent.peer, m.Degraded("ImportError: no module named torch"))
    for _ in range(30):
        bench.advance(1.0)
        agent.beat()
        agent.obey()
    assert agent.size == 1, "nobody would find out that it can start again"


def test_one_more_than_an_agent_is_to_keep_is_ended_after_a_while() -> None:
    """It became ready when its agent was told to keep fewer."""
    bench = Bench()
    agent = AgentModel(bench, size=2)
    agent.get_ready()
    agent.start()
    agent.get_ready()
    agent.live(2.0)
    assert len(agent.ready) == 3
    agent.live(4.0)
    assert len(agent.ready) == 2


def test_an_agent_that_says_no_size_keeps_its_workers() -> None:
    bench = Bench()
    agent = bench.agent()
    worker = bench.worker()
    bench.tell(agent, m.Spawned(id128(100), 1))
    for _ in range(20):
        bench.tell(worker, m.Heartbeat())
        bench.tell(agent, m.Vouch([]))
        bench.advance(0.5)
    assert not any(isinstance(message, m.Dismiss) for message, _ in bench.take(agent))


def test_a_batch_that_waits_for_more_is_no_reason_to_grow() -> None:
    bench = Bench(pools=[QUICK])
    client = bench.client()
    agent = AgentModel(bench, size=1, least=1, most=4)
    (number,) = agent.starting
    embed = m.CommandInfo("embed", batch=8, max_wait=1.0)
    agent.starting.clear()
    worker = agent.ready[number] = bench.worker(number, 1, embed)
    for n in range(4):
        bench.tell(client, m.Request(n, POOL, "embed"), b"")
    for _ in range(2):  # the first alone, and the others as one: the next ones are waited for
        for order in bench.orders(worker):
            bench.tell(worker, m.WorkerReply(CLIENT, order.id, 1, 0.3), b"")
    bench.tell(client, m.Request(9, POOL, "embed"), b"")
    assert bench.row("pools")["queued"] == 1
    bench.advance(0.9)
    agent.obey()
    assert agent.size == 1
