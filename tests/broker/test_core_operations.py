"""What a person may do to pools and workers, and what he is told where it cannot be done."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from agent_model import AgentModel
from broker_peers import POOL, Bench, details, id128

from maitred.broker.core.effects import Peer
from maitred.broker.core.settings import PoolSettings
from maitred.protocol import messages as m

CLIENT = id128(7)
SESSION = id128(900)


def do(bench: Bench, client: Peer, verb: str, target: str) -> dict[str, Any]:
    ((reply, body),) = [one for one in bench.say(client, m.Operate(5000, verb, target)) if one[0].id == 5000]
    assert isinstance(reply, m.Reply), details((reply, body))
    return msgpack.unpackb(body[0])


def refused(bench: Bench, client: Peer, verb: str, target: str) -> str:
    ((error, body),) = [one for one in bench.say(client, m.Operate(5000, verb, target)) if one[0].id == 5000]
    assert details((error, body)) == ("invalid_argument", {"argument": "target"})
    return error.message


def echo(n: int, **fields: Any) -> m.Request:
    return m.Request(n, POOL, "echo", **fields)


def code_of(bench: Bench, client: Peer, message: m.Message, *body: bytes) -> tuple[str, str | None]:
    code, info = details(bench.say(client, message, *body)[-1])
    return code, info.get("reason")


# --- scale ---


def test_a_pool_of_one_size_may_be_given_any() -> None:
    bench = Bench()
    client = bench.client()
    agent = AgentModel(bench, size=2)
    for size, before in [(5, 2), (0, 5), (1, 0)]:
        assert do(bench, client, "scale", f"{POOL}={size}") == {"pool": POOL, "size": size, "before": before}
        agent.obey()
        agent.get_ready()
        assert len(agent.ready) == size
    assert "0 to 1024" in refused(bench, client, "scale", f"{POOL}=1025")


def test_a_pool_with_bounds_is_scaled_within_them() -> None:
    bench = Bench()
    client = bench.client()
    AgentModel(bench, size=2, least=1, most=4)
    assert "1 to 4" in refused(bench, client, "scale", f"{POOL}=5")
    assert "1 to 4" in refused(bench, client, "scale", f"{POOL}=0")
    assert do(bench, client, "scale", f"{POOL}=4")["size"] == 4


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("general", "POOL=N"),
        ("", "POOL=N"),
        ("general=", "no number"),
        ("general=-1", "no number"),
        ("general=²", "no number"),
        ("general=2.5", "no number"),
        ("generl=2", "did you mean 'general'"),
        ("general=2", "no agent"),
    ],
)
def test_what_cannot_be_scaled_is_refused_with_the_reason(target: str, says: str) -> None:
    bench = Bench()
    assert says in refused(bench, bench.client(), "scale", target)


# --- pause and resume ---


def test_a_paused_pool_admits_queues_and_dispatches_nothing_until_it_is_resumed() -> None:
    bench = Bench(pools=[PoolSettings(POOL, max_queue=3)])
    client, worker = bench.client(), bench.worker(slots=2)
    bench.tell(client, echo(0), b"")
    assert do(bench, client, "pause", POOL) == {"pool": POOL, "queued": 0, "held": 1}
    for n in (1, 2):
        bench.tell(client, echo(n), b"")
    bench.tell(worker, m.WorkerReply(CLIENT, 0, 1), b"")
    bench.tell(client, echo(3), b"")
    assert [order.id for order in bench.orders(worker)] == [0]
    assert code_of(bench, client, echo(4), b"") == ("resource_exhausted", "queue_full")
    second = bench.worker(200, slots=2)
    bench.advance(2.0)
    assert bench.orders(second) == []
    do(bench, client, "resume", POOL)
    assert sorted(order.id for worker in (worker, second) for order in bench.orders(worker)) == [1, 2, 3]


def test_a_pause_holds_for_sessions_and_batches() -> None:
    bench = Bench()
    client = bench.client()
    worker = bench.worker(100, 2, m.CommandInfo("echo"), m.CommandInfo("embed", batch=4))
    bench.tell(client, m.Open(1, SESSION, POOL, 60.0), b"\x80")
    do(bench, client, "pause", POOL)
    bench.take(worker)
    for n in (2, 3):
        bench.tell(client, echo(n, session=SESSION), b"")
    bench.tell(client, echo(4, session=SESSION, affinity=m.PREFER), b"")
    for n in (5, 6):
        bench.tell(client, m.Request(n, POOL, "embed"), b"")
    bench.tell(client, m.Open(7, id128(901), POOL, 60.0), b"\x80")
    bench.advance(2.0)
    assert [message for message, _ in bench.take(worker) if not isinstance(message, m.Check)] == []
    do(bench, client, "resume", POOL)
    assert any(isinstance(message, m.SessionOpen) for message, _ in bench.inbox[worker])
    told = bench.orders(worker)
    while (order := told.pop(0)).id != 4:
        bench.tell(worker, m.WorkerReply(CLIENT, order.id, 1), b"")
        told += bench.orders(worker)
    assert not told or told[0].id not in (2, 3)


def test_a_deadline_passes_in_a_pause_too() -> None:
    bench = Bench()
    client, worker = bench.client(), bench.worker()
    do(bench, client, "pause", POOL)
    bench.tell(client, echo(1, timeout=1.0), b"")
    bench.advance(1.1)
    assert details(bench.take(client)[0])[1]["where"] == "queued"
    do(bench, client, "resume", POOL)
    assert bench.orders(worker) == []


def test_resuming_ends_a_degraded_state_and_has_the_agent_try_again() -> None:
    bench = Bench()
    client = bench.client()
    agent = AgentModel(bench, size=2)
    bench.tell(agent.peer, m.Died(id128(agent.starting[0]), m.Certificate("exit", exit_code=1)))
    bench.tell(agent.peer, m.Died(id128(agent.starting[1]), m.Certificate("exit", exit_code=1)))
    bench.tell(agent.peer, m.Degraded("ImportError"))
    assert code_of(bench, client, echo(1), b"") == ("unavailable", "degraded")
    bench.take(agent.peer)
    do(bench, client, "resume", POOL)
    assert bench.take(agent.peer) == [(m.Resize(2), [])]
    assert bench.say(client, echo(2), b"") == []


def test_another_try_is_no_worker_yet() -> None:
    """A pool that crashes in a loop has a process on its way most of the time: who calls then must not wait for it."""
    bench = Bench()
    client = bench.client()
    agent = AgentModel(bench, size=1)
    bench.tell(agent.peer, m.Died(id128(agent.starting[0]), m.Certificate("exit", exit_code=1)))
    bench.tell(agent.peer, m.Degraded("ImportError"))
    bench.tell(agent.peer, m.Spawned(id128(900), 900))
    assert code_of(bench, client, echo(1), b"") == ("unavailable", "degraded")
    assert code_of(bench, client, m.Open(2, id128(50), POOL), b"") == ("unavailable", "degraded")
    bench.worker(900)
    assert bench.say(client, echo(3), b"") == []


# --- drain ---


def test_a_drained_pool_refuses_what_is_new_and_finishes_what_it_has() -> None:
    bench = Bench(pools=[PoolSettings(POOL), PoolSettings("other")])
    client, worker = bench.client(), bench.worker()
    for n in (1, 2):
        bench.tell(client, echo(n), b"")
    assert do(bench, client, "drain", POOL) == {"pools": [POOL], "queued": 1, "held": 1}
    assert code_of(bench, client, echo(3), b"") == ("unavailable", "draining")
    assert code_of(bench, client, m.Open(4, SESSION, POOL), b"\x80") == ("unavailable", "draining")
    assert bench.say(client, m.Request(5, "other", "echo"), b"") == []
    for n in (1, 2):
        bench.tell(worker, m.WorkerReply(CLIENT, n, 1), b"")
    assert bench.take(client) == [(m.Reply(1), [b""]), (m.Reply(2), [b""])]
    assert bench.row("pools")["draining"]
    do(bench, client, "resume", POOL)
    assert bench.say(client, echo(6), b"") == []


def test_an_empty_target_is_the_whole_broker_which_does_not_end() -> None:
    bench = Bench(pools=[PoolSettings(POOL), PoolSettings("other")])
    client = bench.client()
    bench.worker()
    assert do(bench, client, "drain", "")["pools"] == [POOL, "other"]
    for pool in (POOL, "other"):
        assert code_of(bench, client, m.Request(1, pool, "echo"), b"") == ("unavailable", "draining")
    assert bench.drained == 0
    do(bench, client, "resume", "")
    assert bench.say(client, echo(2), b"") == []


def test_a_broker_that_shuts_down_is_not_resumed() -> None:
    bench = Bench()
    client = bench.client()
    bench.worker()
    bench.tell(client, echo(1), b"")
    bench.perform(bench.core.drain(bench.now))
    assert refused(bench, client, "resume", POOL) == "the broker is shutting down"
    assert code_of(bench, client, echo(2), b"") == ("unavailable", "draining")


def test_a_worker_is_drained_by_four_digits_of_its_id() -> None:
    bench = Bench()
    client = bench.client()
    wanted, other, third = (bytes.fromhex(digits + "0" * 24) for digits in ("ab12cd34", "ab12ef56", "ff001122"))
    peers = [bench.worker(int.from_bytes(worker, "big")) for worker in (wanted, other, third)]
    assert "4 digits at least" in refused(bench, client, "drain", "ab1")
    ambiguous = refused(bench, client, "drain", "ab12")
    assert wanted.hex() in ambiguous
    assert other.hex() in ambiguous
    assert third.hex() not in ambiguous
    unknown = refused(bench, client, "recycle", "dead")
    assert "no worker's id begins with 'dead'" in unknown
    assert all(worker.hex() in unknown for worker in (wanted, other, third))
    assert "no pool 'generel'; did you mean 'general'?" in refused(bench, client, "drain", "generel")
    done = do(bench, client, "drain", "AB12C")
    assert done == {"worker": wanted.hex(), "pool": POOL, "held": 0, "sessions": 0}
    assert m.Dismiss(wanted, "operator") in [message for message, _ in bench.take(peers[0])]


# --- recycle ---


def test_recycling_names_all_workers_to_their_agents_and_retires_those_without() -> None:
    bench = Bench()
    client = bench.client()
    agent = AgentModel(bench, size=2)
    agent.get_ready()
    alone = bench.worker(100)
    bench.take(agent.peer)
    done = do(bench, client, "recycle", POOL)
    assert len(done["workers"]) == 3
    assert bench.take(agent.peer) == [(m.Recycle([id128(one) for one in agent.ready], "operator"), [])]
    assert m.Dismiss(id128(100), "operator") in [message for message, _ in bench.take(alone)]


def test_one_worker_is_recycled() -> None:
    bench = Bench()
    client = bench.client()
    agent = AgentModel(bench, size=2)
    agent.get_ready()
    bench.take(agent.peer)
    first = id128(next(iter(agent.ready)))
    assert do(bench, client, "recycle", first.hex()) == {"workers": [first.hex()]}
    assert bench.take(agent.peer) == [(m.Recycle([first], "operator"), [])]


def test_an_unknown_verb_says_which_there_are() -> None:
    bench = Bench()
    client = bench.client()
    ((error, _),) = bench.say(client, m.Operate(1, "explode", POOL))
    assert "scale, pause, resume, drain, recycle" in error.message
