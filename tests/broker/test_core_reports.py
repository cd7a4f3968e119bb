"""What agents say of their workers, and what the tables and events tell of it: sizes, GPUs, spares, deaths."""

from __future__ import annotations

import pytest
from agent_model import AgentModel
from broker_peers import POOL, Bench, id128

from maitred.broker.core.deaths import MAX_DEATHS
from maitred.protocol import messages as m


def test_what_an_agent_sees_of_its_workers_is_in_their_rows() -> None:
    bench = Bench()
    agent = AgentModel(bench, size=1)
    (worker,) = agent.get_ready()
    (number,) = agent.ready
    control = bench.peer(worker.side)
    bench.tell(control, m.Attach(id128(number), id128(number + 1)))
    bench.tell(control, m.Beat(rss=100))
    assert bench.row("workers")["rss"] == 100
    seen = m.WorkerState(id128(number), 5000, 1 << 30, 0.25, "GPU-aa")
    bench.tell(agent.peer, m.Report([seen]))
    bench.tell(control, m.Beat(rss=100))
    row = bench.row("workers")
    assert (row["rss"], row["gpu"], row["gpu_bytes"], row["gpu_use"]) == (5000, "GPU-aa", 1 << 30, 0.25)
    assert row["agent"] is True
    bench.tell(control, m.Beat(rss=6000))
    assert bench.row("workers")["rss"] == 6000, "what it has itself is more than what its control group counts"


def test_a_worker_s_beat_says_what_it_is_at_and_since_when() -> None:
    bench = Bench()
    worker = bench.worker(100, slots=2)
    control = bench.peer(worker.side)
    bench.tell(control, m.Attach(id128(100), id128(101)))
    client = bench.client()
    for number in (1, 2):
        bench.tell(client, m.Request(number, POOL, "echo"), b"")
    bench.advance(2.0)
    bench.tell(control, m.Beat(100, 1.5, 0.25, (id128(7), 2), 1.5))
    row = bench.row("workers")
    assert (row["request"], row["request_age"]) == ("echo 00000000-2", 1.5)
    assert (row["cpu"], row["lag"]) == (1.5, 0.25)
    bench.advance(1.0)
    assert bench.row("workers")["request_age"] == 2.5
    bench.tell(worker, m.WorkerReply(id128(7), 2, 1, 0.1), b"")
    assert bench.row("workers")["request"] == "echo 00000000-1"


def test_an_agent_says_nothing_of_the_workers_of_others() -> None:
    bench = Bench()
    agent = AgentModel(bench, size=1)
    bench.worker(100)
    bench.tell(agent.peer, m.Report([m.WorkerState(id128(100), 5000), m.WorkerState(id128(101), 5000)]))
    (row,) = [row for row in bench.core.table("workers", bench.now) if row["id"] == id128(100).hex()]
    assert (row["rss"], row["agent"]) == (None, False)


def test_spares_are_rows_of_their_own_and_count_as_nothing_else() -> None:
    bench = Bench()
    agent = AgentModel(bench, size=1)
    agent.get_ready()
    spare = agent.start()
    assert bench.row("pools")["starting"] == 1
    bench.tell(agent.peer, m.Report([m.WorkerState(id128(spare), 4000, spare=True)]))
    pool = bench.row("pools")
    assert (pool["starting"], pool["spares"], pool["total"], pool["size"]) == (0, 1, 1, 1)
    row = bench.row("workers", 1)
    assert (row["state"], row["rss"]) == ("spare", 4000)
    agent.get_ready()
    assert [row["state"] for row in bench.core.table("workers", bench.now)] == ["idle", "idle"]


def test_a_pool_says_how_it_is_kept() -> None:
    bench = Bench()
    AgentModel(bench, 500, 2, least=1, most=4, memory="cgroup2", gpus="1 of 1 usable")
    AgentModel(bench, 600, 3, least=3, most=3, memory="polling", gpus="1 of 1 usable")
    row = bench.row("pools")
    assert {key: row[key] for key in ("size", "least", "most", "agents", "memory", "gpus", "paused", "draining")} == {
        "size": 5, "least": 4, "most": 7, "agents": 2, "memory": "cgroup2, polling", "gpus": "1 of 1 usable",
        "paused": False, "draining": False,
    }  # fmt: skip


def test_deaths_are_kept_the_last_first_with_all_that_is_known() -> None:
    bench = Bench()
    agent = AgentModel(bench, size=2)
    agent.get_ready()
    first, second = agent.ready
    certificate = m.Certificate(
        "oom", "SIGKILL", None, 2000, 5.0, 7, "MemoryError", id128(first).hex(), first, "host-a", 1100, 1000, 3, "twice"
    )
    bench.tell(agent.peer, m.Died(id128(first), certificate, []))
    bench.advance(1.5)
    bench.tell(agent.peer, m.Died(id128(second), m.Certificate("exit", exit_code=3), []))
    newest, oldest = bench.core.table("deaths", bench.now)
    assert (newest["cause"], newest["exit_code"], newest["worker"]) == ("exit", 3, id128(second).hex())
    assert oldest == {
        "worker": id128(first).hex(), "pool": POOL, "cause": "oom", "signal": "SIGKILL", "exit_code": None, "age": 5.0,
        "served": 7, "peak_rss": 2000, "memory": 1100, "memory_limit": 1000, "gpu_bytes": 3, "stderr": "MemoryError",
        "note": "twice", "host": "host-a", "pid": first, "ended": pytest.approx(1.5),
    }  # fmt: skip
    pool = bench.row("pools")
    assert (pool["restarts"], pool["restarts_by_cause"]) == (2, {"oom": 1, "exit": 1})
    told = [(note.fields["cause"], note.fields["signal"], note.fields["means"]) for note in bench.events("worker.died")]
    assert told == [("oom", "SIGKILL", "agent"), ("exit", None, "agent")]


def test_a_death_that_is_told_twice_counts_once_and_the_better_word_stays() -> None:
    bench = Bench()
    worker = bench.worker(100)
    bench.advance(4.0)  # silence, and no agent to ask
    assert worker not in bench.core.state.parties
    assert bench.row("deaths")["cause"] == "heartbeat"
    (event,) = bench.events("worker.died")
    assert event.fields["means"] == "silence"
    agent = bench.agent()
    for _ in range(2):
        bench.tell(agent, m.Died(id128(100), m.Certificate("signal", "SIGSEGV")))
    assert bench.row("deaths")["signal"] == "SIGSEGV"
    assert not any(bench.events("worker.ended"))
    assert len(bench.core.table("deaths", bench.now)) == 1
    assert bench.row("pools")["restarts"] == 1


def test_no_more_deaths_are_kept_than_there_is_room_for() -> None:
    bench = Bench()
    agent = bench.agent()
    for n in range(MAX_DEATHS + 5):
        bench.tell(agent, m.Died(id128(n), m.Certificate("exit", exit_code=n % 7)))
    rows = bench.core.table("deaths", bench.now)
    assert len(rows) == MAX_DEATHS
    assert rows[-1]["worker"] == id128(5).hex()
    assert bench.row("pools")["restarts"] == MAX_DEATHS + 5


def test_a_worker_that_left_in_good_order_has_ended_and_not_died() -> None:
    bench = Bench()
    agent = AgentModel(bench, size=1)
    (worker,) = agent.get_ready()
    (number,) = agent.ready
    bench.tell(worker, m.Leave())
    bench.tell(agent.peer, m.Died(id128(number), m.Certificate("drain", exit_code=0), []))
    assert not any(bench.events("worker.died"))
    assert len(list(bench.events("worker.ended"))) == 1
    assert bench.row("pools")["restarts"] == 0
    assert bench.row("deaths")["cause"] == "drain"


def test_one_that_dies_before_it_is_ready_is_told_of_too() -> None:
    bench = Bench()
    agent = AgentModel(bench, size=1)
    bench.tell(agent.peer, m.Died(id128(agent.starting[0]), m.Certificate("exit", exit_code=1)))
    (event,) = bench.events("worker.died")
    assert event.fields["exit_code"] == 1
