"""What a scaler outside asks: how many workers would do, and whom it may take."""

from __future__ import annotations

from agent_model import AgentModel
from broker_peers import POOL, Bench, id128

from maitred.broker.core.settings import PoolSettings
from maitred.protocol import messages as m


def echo(number: int) -> m.Request:
    return m.Request(number, POOL, "echo")


def retire(bench: Bench, target: str) -> dict[str, object] | str:
    done, effects = bench.core.operate("retire", target, "test", "operator", bench.now)
    bench.perform(effects)
    return done


def test_workers_that_do_nothing_are_named_and_end_and_nobody_takes_their_place() -> None:
    bench = Bench()
    client = bench.client()
    agent = AgentModel(bench, size=3)
    workers = [bench.worker(number, pool=POOL) for number in list(agent.starting)]
    bench.tell(client, echo(1), b"")
    assert sum(bool(bench.orders(worker)) for worker in workers) == 1
    bench.take(agent.peer)
    done = retire(bench, f"{POOL}=5")
    assert isinstance(done, dict)
    assert (len(done["retired"]), done["left"]) == (2, 1)  # type: ignore[arg-type]
    told = [message for message, _ in bench.take(agent.peer)]
    assert [message.workers for message in told if isinstance(message, m.Resize)] == [2, 1]
    assert sum(isinstance(message, m.Dismiss) for message in told) == 2
    assert retire(bench, f"{POOL}=1") == {"pool": POOL, "retired": [], "left": 1}


def test_who_owns_a_session_is_nobodys_to_take() -> None:
    bench = Bench()
    client = bench.client()
    bench.worker()
    bench.tell(client, m.Open(1, id128(50), POOL), b"\x80")
    assert retire(bench, f"{POOL}=1") == {"pool": POOL, "retired": [], "left": 1}


def test_what_is_no_order_is_said() -> None:
    bench = Bench()
    assert "no number" in str(retire(bench, f"{POOL}=0"))
    assert "no number" in str(retire(bench, f"{POOL}=x"))
    assert "no pool" in str(retire(bench, "nowhere=1"))
    assert "no POOL=N" in str(retire(bench, "general"))


def test_what_would_do_follows_the_load() -> None:
    bench = Bench(pools=[PoolSettings(POOL, scale_up_after_s=1.0)])
    client = bench.client()
    assert bench.core.desired(POOL, bench.now) == 0
    bench.tell(client, echo(1), b"")
    assert bench.core.desired(POOL, bench.now) == 1
    worker = bench.worker()
    assert bench.core.desired(POOL, bench.now) == 1
    for number in range(2, 12):
        bench.tell(client, echo(number), b"")
    bench.advance(1.5)
    assert bench.core.desired(POOL, bench.now) >= 2
    done = 0
    while orders := bench.orders(worker):
        for order in orders:
            bench.tell(worker, m.WorkerReply(order.client, order.id, order.attempt), b"")
            done += 1
    assert done == 11
    assert bench.core.desired(POOL, bench.now) == 0


def test_a_pool_that_is_held_keeps_what_it_has() -> None:
    bench = Bench()
    bench.worker()
    bench.core.operate("pause", POOL, "test", "operator", bench.now)
    assert bench.core.desired(POOL, bench.now) == 1
