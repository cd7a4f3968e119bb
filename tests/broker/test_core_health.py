"""Health at each pool's interval: events, checks of idle workers, readiness, and pools that consume nothing."""

from __future__ import annotations

import pytest
from agent_model import AgentModel
from broker_peers import POOL, Bench, id128

from maitred.broker.core.effects import Peer
from maitred.broker.core.settings import PoolSettings
from maitred.protocol import messages as m

CLIENT = id128(7)
INTERVAL_S = 5.0
POOLS = [PoolSettings(POOL, health_check_interval_s=INTERVAL_S, kill_on_cancel=False)]


def checks(bench: Bench, worker: Peer) -> list[m.Check]:
    return [message for message, _ in bench.take(worker) if isinstance(message, m.Check)]


def beat(bench: Bench, seconds: float, *peers: Peer, agent: AgentModel | None = None) -> None:
    """Everybody is heard of, time passes."""
    for _ in range(round(seconds / 0.5)):
        bench.advance(0.5)
        for peer in peers:
            bench.tell(peer, m.Heartbeat())
        if agent is not None:
            agent.beat()


def row(bench: Bench) -> dict[str, object]:
    return bench.row("pools")


# --- the event ---


def test_each_pool_tells_its_health_at_its_own_interval() -> None:
    bench = Bench(
        pools=[PoolSettings("a", health_check_interval_s=0.1), PoolSettings("b", health_check_interval_s=0.2)]
    )
    bench.advance(10.05)
    told = [note.fields["pool"] for note in bench.events("pool.health")]
    assert (told.count("a"), told.count("b")) == (100, 50)


def test_it_says_who_is_there_what_waits_and_how_busy_they_were() -> None:
    bench = Bench(pools=POOLS)
    client = bench.client()
    first, second = bench.worker(100), bench.worker(200)
    bench.tell(client, m.Request(1, POOL, "echo"), b"")
    beat(bench, INTERVAL_S / 2, first, second)
    bench.tell(first, m.WorkerReply(CLIENT, 1, 1, INTERVAL_S / 2), b"")
    bench.tell(client, m.Request(2, POOL, "echo"), b"")
    beat(bench, INTERVAL_S / 2, first, second)
    (event,) = bench.events("pool.health")
    told = dict(event.fields)
    assert told.pop("utilisation") == pytest.approx(0.5, abs=0.01)
    assert told == {"pool": POOL, "available": 1, "busy": 1, "total": 2, "queued": 0}
    beat(bench, INTERVAL_S, first, second)
    assert list(bench.events("pool.health"))[-1].fields["utilisation"] == pytest.approx(0.5, abs=0.01)


# --- the check ---


def test_a_worker_that_was_idle_for_an_interval_is_asked_and_one_that_worked_is_not() -> None:
    bench = Bench(pools=POOLS)
    client = bench.client()
    busy, idle = bench.worker(100), bench.worker(200)
    for n in range(8):
        bench.tell(client, m.Request(n, POOL, "echo"), b"")
        for worker in [worker for worker in (busy, idle) if worker is busy or n < 4]:
            for order in bench.orders(worker):
                bench.tell(worker, m.WorkerReply(CLIENT, order.id, 1), b"")
        beat(bench, 2.0, busy, idle, client)
    bench = Bench(pools=POOLS)
    worker = bench.worker()
    beat(bench, INTERVAL_S, worker)
    assert checks(bench, worker) == [], "it had just come"
    beat(bench, INTERVAL_S, worker)
    (check,) = checks(bench, worker)
    bench.tell(worker, m.Checked(check.number))
    bench.tell(bench.client(), m.Request(1, POOL, "echo"), b"")
    beat(bench, INTERVAL_S, worker)
    assert checks(bench, worker) == [], "it is at work"
    bench.tell(worker, m.WorkerReply(CLIENT, 1, 1), b"")
    beat(bench, INTERVAL_S, worker)
    assert checks(bench, worker) == [], "it has just worked"
    beat(bench, INTERVAL_S, worker)
    assert len(checks(bench, worker)) == 1


def test_a_worker_that_finds_itself_ill_is_replaced_by_its_agent() -> None:
    bench = Bench(pools=POOLS)
    agent = AgentModel(bench, size=1)
    (worker,) = agent.get_ready()
    beat(bench, 2 * INTERVAL_S, agent=agent)
    (check,) = checks(bench, worker)
    bench.take(agent.peer)
    bench.tell(worker, m.Checked(check.number, "no GPU is usable"))
    (event,) = bench.events("worker.unhealthy")
    assert event.fields["problem"] == "no GPU is usable"
    assert bench.row("workers")["note"] == "no GPU is usable"
    agent.obey()
    agent.get_ready()
    agent.obey()
    assert worker not in agent.ready.values()
    assert len(agent.ready) == 1


def test_one_without_an_agent_is_retired() -> None:
    bench = Bench(pools=POOLS)
    worker = bench.worker()
    beat(bench, 2 * INTERVAL_S, worker)
    (check,) = checks(bench, worker)
    bench.tell(worker, m.Checked(check.number, "no GPU is usable"))
    assert bench.take(worker) == [(m.Dismiss(id128(100), "recycle"), [])]


def test_a_worker_that_beats_and_answers_no_check_is_fenced() -> None:
    bench = Bench(pools=POOLS)
    client = bench.client()
    agent = AgentModel(bench, size=1)
    (worker,) = agent.get_ready()
    beat(bench, 3 * INTERVAL_S, client, agent=agent)
    agent.obey()
    assert len(agent.fenced) == 1
    assert bench.row("workers")["state"] == "suspect"
    bench.take(worker)
    bench.tell(client, m.Request(1, POOL, "echo"), b"")
    beat(bench, 1.0, client, agent=agent)
    assert bench.orders(worker) == [], "it was given work although it does not answer"
    assert row(bench)["reason"] == "all workers are suspect (1)"


def test_one_without_an_agent_is_given_nothing_until_it_answers() -> None:
    bench = Bench(pools=POOLS)
    client, worker = bench.client(), bench.worker()
    beat(bench, 2 * INTERVAL_S, worker, client)
    (check,) = checks(bench, worker)
    beat(bench, INTERVAL_S, worker, client)
    bench.tell(client, m.Request(1, POOL, "echo"), b"")
    assert bench.orders(worker) == []
    bench.tell(worker, m.Checked(check.number - 1))
    assert bench.orders(worker) == []
    bench.tell(worker, m.Checked(check.number))
    assert [order.id for order in bench.orders(worker)] == [1]


def test_a_check_behind_a_long_request_waits_for_it() -> None:
    bench = Bench(pools=POOLS)
    client = bench.client()
    agent = AgentModel(bench, size=1)
    (worker,) = agent.get_ready()
    beat(bench, 2 * INTERVAL_S, client, agent=agent)
    assert len(checks(bench, worker)) == 1
    bench.tell(client, m.Request(1, POOL, "echo", 600.0), b"")
    beat(bench, 20 * INTERVAL_S, client, agent=agent)
    agent.obey()
    assert agent.fenced == []


def test_a_check_that_went_to_a_lost_connection_is_not_held_against_anybody() -> None:
    bench = Bench(pools=POOLS)
    agent = AgentModel(bench, size=1)
    (worker,) = agent.get_ready()
    beat(bench, 2 * INTERVAL_S, agent=agent)
    assert len(checks(bench, worker)) == 1
    (number,) = agent.ready
    agent.ready[number] = again = bench.worker(number)
    beat(bench, INTERVAL_S, agent=agent)
    agent.obey()
    assert agent.fenced == []
    assert len(checks(bench, again)) == 1


def test_short_intervals_leave_a_worker_as_much_time_as_silence_does() -> None:
    bench = Bench(pools=[PoolSettings(POOL, health_check_interval_s=0.1)])
    agent = AgentModel(bench, size=1)
    (worker,) = agent.get_ready()
    beat(bench, 2.5, agent=agent)
    assert len(checks(bench, worker)) == 1
    agent.obey()
    assert agent.fenced == []
    beat(bench, 2.0, agent=agent)
    agent.obey()
    assert agent.fenced


# --- a broker that was not running ---


def test_after_a_pause_of_the_broker_nobody_is_blamed() -> None:
    """Workers, agents, clients and checks: the time in which nobody could be heard does not count."""
    bench = Bench(pools=POOLS)
    client = bench.client()
    agent = AgentModel(bench, size=1)
    (worker,) = agent.get_ready()
    beat(bench, 2 * INTERVAL_S, client, agent=agent)
    (check,) = checks(bench, worker)
    bench.take(agent.peer)
    bench.now += 3600.0  # it was suspended; then its timer fires before anything is received
    bench.perform(bench.core.tick(bench.now))
    assert not any(isinstance(message, m.Fence | m.Stranger) for message, _ in bench.take(agent.peer))
    assert bench.row("workers")["state"] == "idle"
    assert bench.row("pools")["agents"] == 1
    beat(bench, INTERVAL_S - 1.0, client, agent=agent)
    assert bench.row("workers")["state"] == "idle"
    bench.tell(worker, m.Checked(check.number))
    beat(bench, INTERVAL_S, client, agent=agent)
    agent.obey()
    assert agent.fenced == []
    assert bench.say(client, m.Heartbeat())[-1] == (m.Heartbeat(), [])


def test_a_check_has_its_time_again_after_a_pause_of_the_broker() -> None:
    bench = Bench(pools=[PoolSettings(POOL, health_check_interval_s=0.1)])
    agent = AgentModel(bench, size=1)
    (worker,) = agent.get_ready()
    beat(bench, 1.0, agent=agent)
    assert len(checks(bench, worker)) == 1
    bench.now += 3600.0
    bench.perform(bench.core.tick(bench.now))
    beat(bench, 2.0, agent=agent)
    agent.obey()
    assert agent.fenced == []
    beat(bench, 2.0, agent=agent)
    agent.obey()
    assert agent.fenced


def test_a_pause_of_the_broker_does_not_make_a_pool_stalled() -> None:
    bench = Bench(pools=POOLS)
    client, worker = bench.client(), bench.worker()
    for n in (1, 2):
        bench.tell(client, m.Request(n, POOL, "echo", 7000.0), b"")
    bench.now += 3600.0
    bench.perform(bench.core.tick(bench.now))
    beat(bench, INTERVAL_S - 1.0, client, worker)
    assert row(bench)["ready"]


# --- readiness ---


def test_a_pool_is_ready_when_it_has_a_worker_and_says_why_where_not() -> None:
    bench = Bench(pools=POOLS)
    client = bench.client()
    assert row(bench)["reason"] == "no worker"
    agent = AgentModel(bench, size=2)
    assert row(bench)["reason"] == "no worker is ready yet, 2 are starting"
    bench.tell(agent.peer, m.Degraded("ImportError: no module named torch"))
    assert row(bench)["reason"] == "degraded: ImportError: no module named torch"
    agent.get_ready()
    assert (row(bench)["ready"], row(bench)["reason"]) == (True, None)
    for verb, reason in [("pause", "paused"), ("drain", "draining: an operator drains it")]:
        bench.say(client, m.Operate(1, verb, POOL))
        assert row(bench)["reason"] == reason
        bench.say(client, m.Operate(2, "resume", POOL))
        assert row(bench)["ready"]


def test_a_pool_whose_workers_hang_is_stalled_within_their_requests_time_and_an_interval() -> None:
    """Each request runs out of its time on a worker that beats, and the next one is begun: alive, consuming nothing."""
    bench = Bench(pools=POOLS)
    client = bench.client()
    workers = [bench.worker(100), bench.worker(200)]
    stalled_at, n = 0.0, 0
    began = bench.now
    while not stalled_at:
        for _ in range(2):
            bench.tell(client, m.Request(n, POOL, "echo", 4.0), b"")
            n += 1
        beat(bench, 0.5, client, *workers)
        for worker in workers:  # what was given up is answered, too late: its slot is free, its work was for nothing
            for message, _ in bench.take(worker):
                if isinstance(message, m.WorkerCancel):
                    bench.tell(worker, m.WorkerError(message.client, message.id, 1, "cancelled", ""), b"\x80")
        if any(bench.events("pool.stalled")):
            stalled_at = bench.now
        assert bench.now - began < 60.0
    assert stalled_at - began >= INTERVAL_S
    assert stalled_at - began <= 4.0 + INTERVAL_S + 2.0
    assert not row(bench)["ready"]
    fresh = bench.worker(300)
    beat(bench, 0.5, client, fresh)
    for order in bench.orders(fresh):
        bench.tell(fresh, m.WorkerReply(CLIENT, order.id, order.attempt), b"")
    beat(bench, 2.0, client, fresh, *workers)
    assert len(list(bench.events("pool.recovered"))) == 1
    assert row(bench)["ready"]


def test_work_that_takes_ten_minutes_is_no_alarm() -> None:
    bench = Bench(pools=POOLS)
    client, worker = bench.client(), bench.worker()
    for n in range(3):
        bench.tell(client, m.Request(n, POOL, "echo", 4000.0), b"")
    for _ in range(3):
        beat(bench, 600.0, client, worker)
        for order in bench.orders(worker):
            bench.tell(worker, m.WorkerReply(CLIENT, order.id, 1, 600.0), b"")
    assert not any(bench.events("pool.stalled"))


def test_a_queue_behind_work_that_was_given_up_and_does_not_end_is_stalled() -> None:
    bench = Bench(pools=POOLS)
    client, worker = bench.client(), bench.worker()
    bench.tell(client, m.Request(1, POOL, "echo", 1.0), b"")
    bench.tell(client, m.Request(2, POOL, "echo", 600.0), b"")
    beat(bench, 2 * INTERVAL_S, client, worker)
    assert "all workers are suspect" in str(row(bench)["reason"])
    assert any(bench.events("pool.stalled"))


def test_time_without_any_worker_is_not_held_against_the_pool() -> None:
    bench = Bench(pools=POOLS)
    client = bench.client()
    bench.tell(client, m.Request(1, POOL, "echo", 22 * INTERVAL_S), b"")
    beat(bench, 20 * INTERVAL_S, client)
    worker = bench.worker()
    beat(bench, INTERVAL_S - 1.0, client, worker)
    assert not any(bench.events("pool.stalled"))
    assert row(bench)["ready"]


def test_a_pool_that_was_quiet_is_not_stalled_by_its_first_request() -> None:
    bench = Bench(pools=POOLS)
    client, worker = bench.client(), bench.worker()
    for _ in range(50):
        beat(bench, 2.0, client, worker)
        for check in checks(bench, worker):
            bench.tell(worker, m.Checked(check.number))
    bench.tell(client, m.Request(1, POOL, "echo", 1.5), b"")
    beat(bench, 1.0, client, worker)
    assert row(bench)["ready"]
    assert not any(bench.events("pool.stalled"))
