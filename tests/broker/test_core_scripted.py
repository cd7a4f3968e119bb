"""The core, one rule a test: messages in, messages out."""

from __future__ import annotations

import pytest
from broker_peers import POOL, Bench, details, id128
from msgspec import structs

from maitred.broker.core.effects import Peer, Side
from maitred.broker.core.settings import PoolSettings
from maitred.protocol import frames
from maitred.protocol import messages as m

CLIENT = id128(7)


def echo(n: int, **fields: object) -> m.Request:
    return m.Request(n, POOL, "echo", **fields)  # type: ignore[arg-type]


def test_a_request_travels_to_a_worker_and_back_byte_for_byte() -> None:
    bench = Bench()
    client, worker = bench.client(), bench.worker()
    bench.take(worker)
    bench.say(client, echo(1, timeout=5.0), b"body", b"", b"buffer")
    ((order, body),) = bench.take(worker)
    assert order == m.Dispatch(CLIENT, 1, 1, "echo", 5.0)
    assert list(body) == [b"body", b"", b"buffer"]
    bench.tell(worker, m.WorkerReply(CLIENT, 1, 1), b"result", b"more")
    ((reply, result),) = bench.take(client)
    assert reply == m.Reply(1, 1)
    assert list(result) == [b"result", b"more"]


def test_a_stranger_is_told_so_and_nothing_is_done() -> None:
    bench = Bench()
    bench.worker()
    for side, message in [(Side.CLIENTS, echo(1)), (Side.WORKERS, m.Beat())]:
        peer = bench.peer(side)
        body = [b"x"] if isinstance(message, m.Request) else []
        assert bench.say(peer, message, *body) == [(m.Stranger(), [])]
    assert not bench.core.state.requests


def test_heartbeats_are_answered() -> None:
    bench = Bench()
    client, worker = bench.client(), bench.worker()
    assert bench.say(client, m.Heartbeat()) == [(m.Heartbeat(), [])]
    control = bench.peer(Side.WORKERS)
    assert isinstance(bench.say(control, m.Attach(id128(100), id128(101)))[0][0], m.Welcome)
    assert bench.say(control, m.Beat(rss=5)) == [(m.Heartbeat(), [])]
    assert bench.core.state.workers[id128(100)].rss == 5
    bench.take(worker)
    assert bench.say(worker, m.Heartbeat()) == [(m.Heartbeat(), [])]


def test_a_second_connection_needs_the_token() -> None:
    bench = Bench()
    bench.worker()
    answer = bench.say(bench.peer(Side.WORKERS), m.Attach(id128(100), id128(999)))
    assert details(answer[0])[0] == "protocol_error"
    early = bench.say(bench.peer(Side.WORKERS), m.Attach(id128(3), id128(4)))
    assert early == [(m.Stranger(), [])]


def test_work_goes_to_the_least_loaded_worker() -> None:
    bench = Bench()
    client = bench.client()
    first, second = bench.worker(100, slots=3), bench.worker(200, slots=3)
    for n in range(4):
        bench.say(client, echo(n), b"")
    assert [order.id for order in bench.orders(first)] == [0, 2]
    assert [order.id for order in bench.orders(second)] == [1, 3]
    bench.tell(second, m.WorkerReply(CLIENT, 1, 1), b"")
    bench.tell(second, m.WorkerReply(CLIENT, 3, 1), b"")
    bench.say(client, echo(9), b"")
    assert [order.id for order in bench.orders(second)] == [9]


def test_unknown_pool_and_command_say_what_exists() -> None:
    bench = Bench()
    client = bench.client()
    bench.worker()
    code, info = details(bench.say(client, m.Request(1, "generl", "echo"), b"")[0])
    assert (code, info["pools"], info["nearest"]) == ("unknown_pool", [POOL], POOL)
    code, info = details(bench.say(client, m.Request(2, POOL, "ecko"), b"")[0])
    assert (code, info["commands"], info["nearest"]) == ("unknown_command", ["echo", "safe"], "echo")


def test_no_pool_is_routed_by_command() -> None:
    pools = [PoolSettings("a"), PoolSettings("b")]
    bench = Bench(pools=pools, route=lambda command: {"echo": "b"}.get(command))
    client, worker = bench.client(), bench.worker(pool="b")
    bench.take(worker)
    bench.say(client, m.Request(1, None, "echo"), b"")
    assert [order.id for order in bench.orders(worker)] == [1]
    code, info = details(bench.say(client, m.Request(2, None, "other"), b"")[0])
    assert (code, info["pools"]) == ("unknown_pool", ["a", "b"])


def test_a_full_pool_refuses_and_counts_what_workers_hold() -> None:
    bench = Bench(pools=[PoolSettings(POOL, max_queue=2)])
    client = bench.client()
    bench.worker()
    for n in range(2):
        assert bench.say(client, echo(n), b"") == []
    code, info = details(bench.say(client, echo(2), b"")[0])
    assert code == "resource_exhausted"
    assert info == {"pool": POOL, "queued": 1, "capacity": 2, "reason": "queue_full"}


def test_a_queued_request_expires_unbegun() -> None:
    bench = Bench()
    client = bench.client()
    bench.say(client, echo(1, timeout=0.5), b"")
    bench.advance(0.4)
    assert bench.take(client) == []
    bench.advance(0.2)
    code, info = details(bench.take(client)[0])
    assert (code, info["where"]) == ("deadline_exceeded", "queued")
    assert bench.orders(bench.worker()) == []


def test_a_running_request_expires_and_its_worker_is_told() -> None:
    bench = Bench()
    client, worker = bench.client(), bench.worker()
    bench.say(client, echo(1, timeout=0.5), b"")
    bench.take(worker)
    bench.advance(0.6)
    assert details(bench.take(client)[0])[1]["where"] == "running"
    assert bench.take(worker) == [(m.WorkerCancel(CLIENT, 1, "deadline"), [])]
    bench.say(client, echo(2), b"")
    assert bench.orders(worker) == []  # it is still at it
    bench.tell(worker, m.WorkerReply(CLIENT, 1, 1), b"late")
    assert bench.take(client) == []
    assert [order.id for order in bench.orders(worker)] == [2]


def test_the_pool_gives_the_deadline_where_the_caller_gives_none() -> None:
    bench = Bench(pools=[PoolSettings(POOL, timeout_s=2.0)])
    client, worker = bench.client(), bench.worker()
    bench.take(worker)
    bench.say(client, echo(1), b"")
    assert bench.orders(worker)[0].timeout == 2.0


def test_parts_pass_until_the_attempt_is_over() -> None:
    bench = Bench()
    client, worker = bench.client(), bench.worker()
    bench.say(client, echo(1, window=4), b"")
    bench.say(worker, m.WorkerPart(CLIENT, 1, 1, 0), b"p0")
    bench.say(worker, m.WorkerPart(CLIENT, 1, 2, 1), b"of another attempt")
    assert bench.take(client) == [(m.Part(1, 1, 0), [b"p0"])]
    bench.take(worker)
    bench.say(client, m.Grant(1, 3))
    assert bench.take(worker) == [(m.WorkerGrant(CLIENT, 1, 3), [])]


def test_cancel_removes_what_waits_and_tells_what_runs() -> None:
    bench = Bench()
    client, worker = bench.client(), bench.worker()
    bench.say(client, echo(1), b"")
    bench.say(client, echo(2), b"")
    code, info = details(bench.say(client, m.Cancel(2))[0])
    assert (code, info["outcome"]) == ("cancelled", "removed")
    bench.take(worker)
    assert bench.say(client, m.Cancel(1)) == []
    assert bench.take(worker) == [(m.WorkerCancel(CLIENT, 1, "cancelled"), [])]
    bench.say(worker, m.WorkerError(CLIENT, 1, 1, "cancelled", "stopped"), b"\x80")
    assert isinstance(bench.take(client)[0][0], m.Error)


SIGKILL = m.Certificate("signal", signal="SIGKILL")


def test_a_death_fails_what_was_begun_and_requeues_what_was_not() -> None:
    bench = Bench()
    client, agent = bench.client(), bench.agent()
    bench.tell(agent, m.Spawned(id128(100), 1))
    bench.worker(100, slots=2)
    bench.say(client, echo(1), b"")
    bench.say(client, echo(2), b"")
    bench.say(agent, m.Died(id128(100), SIGKILL, [(CLIENT, 1)]))
    code, info = details(bench.take(client)[0])
    assert (code, info["certificate"]) == ("worker_lost", {"cause": "signal", "signal": "SIGKILL"})
    assert [(order.id, order.attempt) for order in bench.orders(bench.worker(200))] == [(2, 1)]


def test_an_idempotent_request_runs_again_as_often_as_allowed() -> None:
    bench = Bench()
    client, agent = bench.client(), bench.agent()
    bench.say(client, m.Request(1, POOL, "safe", attempts=2), b"")
    for attempt in (1, 2):
        bench.tell(agent, m.Spawned(id128(attempt), 1))
        assert [order.attempt for order in bench.orders(bench.worker(attempt))] == [attempt]
        bench.say(agent, m.Died(id128(attempt), SIGKILL, [(CLIENT, 1)]))
    assert details(bench.take(client)[0])[0] == "worker_lost"


def test_requeued_work_keeps_its_place() -> None:
    bench = Bench()
    client, agent = bench.client(), bench.agent()
    bench.tell(agent, m.Spawned(id128(100), 1))
    bench.worker(100, slots=2)
    for n in range(4):
        bench.say(client, echo(n), b"")
    bench.say(agent, m.Died(id128(100), SIGKILL, []))
    assert [order.id for order in bench.orders(bench.worker(200, slots=4))] == [0, 1, 2, 3]


def test_a_silent_worker_is_suspected_fenced_and_only_then_lost() -> None:
    bench = Bench()
    client, agent = bench.client(), bench.agent()
    bench.tell(agent, m.Spawned(id128(100), 1))
    bench.worker()
    bench.say(client, echo(1, timeout=100.0), b"")
    for _ in range(5):
        bench.advance(1.0)
        bench.say(agent, m.Vouch([]))
    assert bench.core.state.workers[id128(100)].state == "suspect"
    assert (client, []) == (client, bench.take(client))
    bench.say(agent, m.Vouch([]))
    assert any(note.event == "worker.suspect" for note in bench.notes)
    bench.say(agent, m.Died(id128(100), m.Certificate("heartbeat"), None))
    assert details(bench.take(client)[0])[1]["certificate"]["cause"] == "heartbeat"


def test_a_worker_that_is_vouched_for_may_be_silent() -> None:
    bench = Bench()
    client, agent = bench.client(), bench.agent()
    bench.tell(agent, m.Spawned(id128(100), 1))
    worker = bench.worker()
    bench.say(client, echo(1, timeout=100.0), b"")
    for _ in range(20):
        bench.advance(1.0)
        bench.say(agent, m.Vouch([id128(100)]))
    bench.tell(worker, m.WorkerReply(CLIENT, 1, 1), b"")
    assert isinstance(bench.take(client)[0][0], m.Reply)
    assert not list(bench.events("worker.suspect"))


def test_a_silent_worker_without_an_agent_is_given_up() -> None:
    bench = Bench()
    client = bench.client()
    bench.worker()
    bench.say(client, echo(1, timeout=100.0), b"")
    bench.advance(10)
    assert details(bench.take(client)[0])[1]["certificate"]["cause"] == "heartbeat"


def test_a_broker_that_stood_still_blames_nobody() -> None:
    bench = Bench()
    bench.worker()
    bench.now += 3600
    bench.perform(bench.core.tick(bench.now))
    assert id128(100) in bench.core.state.workers
    assert list(bench.events("broker.stalled"))


def test_a_client_that_is_gone_is_worked_for_no_more() -> None:
    bench = Bench()
    client, worker = bench.client(), bench.worker()
    bench.say(client, echo(1), b"")
    bench.say(client, echo(2), b"")
    bench.take(worker)
    bench.say(client, m.Bye())
    assert bench.take(worker) == [(m.WorkerCancel(CLIENT, 1, "client_lost"), [])]
    bench.tell(worker, m.WorkerReply(CLIENT, 1, 1), b"")
    assert bench.orders(worker) == []
    assert bench.take(client) == []


def test_an_order_that_cannot_be_delivered_goes_to_another() -> None:
    bench = Bench()
    client, worker = bench.client(), bench.worker(100)
    bench.say(client, echo(1), b"")
    ((order, _),) = bench.take(worker)[-1:]
    bench.perform(bench.core.undeliverable(worker, order, bench.now))
    assert [again.id for again in bench.orders(bench.worker(200))] == [1]


def test_orders_that_cannot_be_delivered_together_were_never_begun() -> None:
    """No agent can say what became of the worker, so it is given up; but it never heard of these."""
    bench = Bench()
    client = bench.client()
    worker = bench.worker(100, 3)
    for number in (1, 2, 3):
        bench.say(client, echo(number), b"")
    orders = [message for message, _ in bench.take(worker) if isinstance(message, m.Dispatch)]
    bench.perform(bench.core.all_undeliverable(worker, orders[1:], bench.now))
    assert [details(answer)[0] for answer in bench.take(client)] == ["worker_lost"]
    assert [again.id for again in bench.orders(bench.worker(200))] == [2]


def test_a_worker_that_registers_twice_over_one_connection_loses_nothing() -> None:
    """What it was sent meanwhile is still on its way to it."""
    bench = Bench()
    client, worker = bench.client(), bench.worker()
    bench.tell(client, echo(1), b"")
    bench.take(worker)
    bench.say(worker, m.Register(id128(100), id128(101), POOL, 1, [m.CommandInfo("echo")]))
    assert bench.take(client) == []
    bench.tell(worker, m.WorkerReply(CLIENT, 1, 1), b"done")
    assert bench.take(client) == [(m.Reply(1, 1), [b"done"])]


def test_a_worker_that_reconnects_keeps_its_request() -> None:
    bench = Bench()
    client = bench.client()
    bench.worker()
    bench.say(client, echo(1), b"")
    again = bench.worker(100, holds=[(CLIENT, 1)])
    bench.say(again, m.WorkerReply(CLIENT, 1, 1), b"")
    assert isinstance(bench.take(client)[0][0], m.Reply)
    bench.say(client, echo(2), b"")
    bench.worker(100)  # reconnects and holds nothing: the order, or its reply, was lost on the way
    assert details(bench.take(client)[-1])[0] == "worker_lost"


def test_leaving_gives_back_what_was_not_begun() -> None:
    bench = Bench()
    client, worker = bench.client(), bench.worker(100, slots=2)
    bench.say(client, echo(1), b"")
    bench.say(worker, m.Leave())
    assert [order.id for order in bench.orders(bench.worker(200))] == [1]


def test_draining_refuses_the_new_and_finishes_the_running() -> None:
    bench = Bench(drain_timeout_s=5.0)
    client, worker = bench.client(), bench.worker()
    bench.say(client, echo(1), b"")
    bench.say(client, echo(2), b"")
    bench.perform(bench.core.drain(bench.now))
    code, info = details(bench.take(client)[0])
    assert (code, info["reason"]) == ("unavailable", "draining")
    assert details(bench.say(client, echo(3), b"")[0])[0] == "unavailable"
    assert not bench.drained
    bench.tell(worker, m.WorkerReply(CLIENT, 1, 1), b"")
    assert bench.drained == 1


def test_draining_ends_at_its_time() -> None:
    bench = Bench(drain_timeout_s=5.0, heartbeat_liveness=100)
    client = bench.client()
    bench.worker()
    bench.say(client, echo(1), b"")
    bench.perform(bench.core.drain(bench.now))
    bench.advance(5.5)
    assert details(bench.take(client)[0])[0] == "unavailable"
    assert bench.drained == 1


@pytest.mark.parametrize(
    ("side", "said", "told"),
    [
        (Side.WORKERS, m.Hello(CLIENT), "this is the workers' endpoint: clients connect to"),
        (Side.CLIENTS, m.Agent(CLIENT, POOL), "this is the clients' endpoint: workers and agents connect to"),
    ],
)
def test_who_comes_to_the_wrong_endpoint_is_told_so(side: Side, said: m.Message, told: str) -> None:
    bench = Bench()
    peer = bench.peer(side)
    bench.raw(peer, frames.encode(said))
    ((error, _),) = bench.take(peer)
    assert error.code == "protocol_error"
    assert error.message.startswith(told)


def test_who_waited_for_a_pool_without_workers_is_not_told_to_wait_longer() -> None:
    bench = Bench()
    client = bench.client()
    bench.say(client, echo(1), b"")
    bench.advance(100.0)
    code, info = details(bench.take(client)[0])
    assert (code, info["where"]) == ("deadline_exceeded", "queued")
    assert info["suggestion"].startswith("see `maitred status`")


@pytest.mark.parametrize(("its_command", "told"), [("echo", "or use pool 'long'"), ("other", "pass a longer timeout=")])
def test_only_a_pool_that_has_the_command_is_recommended(its_command: str, told: str) -> None:
    bench = Bench(pools=[PoolSettings(POOL, 1.0), PoolSettings("long", 60.0)], heartbeat_liveness=100)
    client = bench.client()
    bench.worker()
    bench.worker(200, 1, m.CommandInfo(its_command), pool="long")
    bench.say(client, echo(1), b"")
    bench.advance(1.5)
    code, info = details(bench.take(client)[0])
    assert code == "deadline_exceeded"
    assert info["suggestion"].endswith(told)


def test_draining_that_is_ended_answers_whom_it_waited_for() -> None:
    bench = Bench(drain_timeout_s=5.0)
    client, worker = bench.client(), bench.worker()
    bench.say(client, echo(1), b"")
    bench.take(worker)
    bench.perform(bench.core.drain(bench.now))
    assert not bench.drained
    for _ in range(2):
        bench.perform(bench.core.end_drain(bench.now))
    answers = [details(answer) for answer in bench.take(client)]
    assert [(code, info["reason"]) for code, info in answers] == [("unavailable", "draining")]
    assert bench.drained == 1


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("garbage", [[], [b""], [b"MT\x01"], [b"MDPC"], [b"MT\x01\x91\x0b"], [b"x"] * 1000])
def test_garbage_is_counted_and_answered(side: Side, garbage: list[bytes]) -> None:
    bench = Bench()
    peer = bench.peer(side)
    bench.raw(peer, garbage)
    assert details(bench.take(peer)[0])[0] == "protocol_error"
    assert bench.core.state.counts["protocol.error"] == 1


def test_tables_tell_the_truth() -> None:
    bench = Bench()
    client, agent = bench.client(), bench.agent()
    bench.worker(100)
    bench.worker(200)
    bench.tell(agent, m.Spawned(id128(300), 42))
    bench.say(client, echo(1), b"")
    (pool,) = bench.core.table("pools", bench.now)
    assert (pool["available"], pool["busy"], pool["starting"], pool["total"], pool["queued"]) == (1, 1, 1, 2, 0)
    states = [row["state"] for row in bench.core.table("workers", bench.now)]
    assert states == ["busy", "idle", "starting"]
    ((reply, _),) = bench.say(client, m.Query(2, "pools"))
    assert isinstance(reply, m.Reply)
    assert details(bench.say(client, m.Query(3, "secrets"))[0])[0] == "invalid_argument"


def test_a_cancelled_request_that_its_worker_never_began_is_not_run_elsewhere() -> None:
    bench = Bench()
    client, first = bench.client(), bench.worker(100, 2)
    for number in (1, 2):
        bench.tell(client, m.Request(number, POOL, "safe"), b"")
    bench.tell(client, m.Cancel(2))
    second = bench.worker(200)
    bench.tell(first, m.WorkerReply(id128(7), 1, 1), b"")
    bench.take(client)
    bench.tell(first, m.Leave())
    code, more = details(bench.take(client)[0])
    assert (code, more["outcome"]) == ("cancelled", "removed")
    assert not bench.orders(second)


def test_a_sentence_that_is_too_long_for_the_wire_is_cut() -> None:
    bench = Bench(pools=[PoolSettings(f"{number:0120}") for number in range(60)], route=lambda _: None)
    client = bench.client()
    (answer,) = bench.say(client, m.Request(1, "nowhere", "echo"), b"")
    assert details(answer)[0] == "unknown_pool"


def test_a_connection_is_that_of_one_worker_only() -> None:
    bench = Bench()
    worker = bench.worker(100)
    bench.take(worker)
    for message in (
        m.Register(id128(300), id128(301), POOL, 1, []),
        m.Attach(id128(100), id128(101)),
        m.Agent(id128(400), POOL),
    ):
        ((answer, _),) = bench.say(worker, message)
        assert isinstance(answer, m.Error)
        assert answer.code == "protocol_error"
    client = bench.client()
    bench.tell(client, m.Request(1, POOL, "echo"), b"")
    assert len(bench.orders(worker)) == 1


def test_a_cancel_that_finds_the_control_connection_dead_takes_the_other() -> None:
    bench = Bench()
    client, worker, control = bench.client(), bench.worker(100), bench.peer(Side.WORKERS)
    bench.tell(control, m.Attach(id128(100), id128(101)))
    bench.tell(client, m.Request(1, POOL, "echo"), b"")
    bench.take(worker)
    bench.tell(client, m.Cancel(1))
    cancel = next(message for message, _ in bench.take(control) if isinstance(message, m.WorkerCancel))
    bench.perform(bench.core.undeliverable(control, cancel, bench.now))
    assert [message for message, _ in bench.take(worker)] == [cancel]


def test_all_cancels_that_find_the_control_connection_dead_take_the_other() -> None:
    bench = Bench()
    client, worker, control = bench.client(), bench.worker(100, 2), bench.peer(Side.WORKERS)
    bench.tell(control, m.Attach(id128(100), id128(101)))
    for number in (1, 2):
        bench.tell(client, m.Request(number, POOL, "echo"), b"")
        bench.tell(client, m.Cancel(number))
    cancels = [message for message, _ in bench.take(control) if isinstance(message, m.WorkerCancel)]
    bench.take(worker)
    bench.perform(bench.core.all_undeliverable(control, cancels, bench.now))
    assert [message for message, _ in bench.take(worker)] == cancels
    assert len(cancels) == 2


def test_who_may_be_sent_bundles_is_who_said_so_and_is_known() -> None:
    bench = Bench()
    client, worker, stranger = bench.peer(Side.CLIENTS), bench.peer(Side.WORKERS), bench.peer(Side.CLIENTS)
    register = m.Register(id128(100), id128(101), POOL, 1, [], bundles=True)
    ((welcome, _),) = bench.say(client, m.Hello(id128(7), bundles=True))
    assert welcome.bundles
    bench.tell(worker, register)
    assert [bench.core.may_bundle(peer) for peer in (client, worker, stranger)] == [True, True, False]
    bench.tell(worker, structs.replace(register, bundles=False))
    bench.tell(client, m.Bye())
    assert not any(bench.core.may_bundle(peer) for peer in (client, worker))


def test_arguments_over_the_limit_are_refused_by_the_broker_too() -> None:
    bench = Bench(max_message_bytes=10)
    client = bench.client()
    (answer,) = bench.say(client, m.Request(1, POOL, "echo"), b"x" * 11)
    code, more = details(answer)
    assert (code, more["size"], more["limit"]) == ("payload_too_large", 11, 10)


# --- sent ahead ---


def ahead(bench: Bench, ran: float, *, workers: int = 1) -> tuple[Peer, list[Peer]]:
    """Workers that may hold three more, and whose command `echo` was measured to run so long."""
    client = bench.client()
    peers: list[Peer] = []
    for n in range(workers):
        peers.append(bench.worker(100 + 10 * n, prefetch=3))
        bench.tell(bench.peer(Side.WORKERS), m.Attach(id128(100 + 10 * n), id128(101 + 10 * n)))
    for n in range(workers):
        bench.tell(client, m.Request(900 + n, POOL, "echo"), b"")
    for peer in peers:
        (order,) = bench.orders(peer)
        bench.tell(peer, m.WorkerReply(order.client, order.id, 1, ran), b"")
    bench.take(client)
    return client, peers


@pytest.mark.parametrize(("ran", "sent"), [(0.00001, 4), (0.001, 2), (0.01, 1), (1.0, 1)])
def test_short_requests_are_sent_ahead_and_long_ones_wait_where_any_worker_can_take_them(ran: float, sent: int) -> None:
    bench = Bench()
    client, (worker,) = ahead(bench, ran)
    for number in range(1, 7):
        bench.tell(client, m.Request(number, POOL, "echo"), b"")
    assert len(bench.orders(worker)) == sent


def test_a_command_that_was_never_measured_is_sent_behind_nothing() -> None:
    bench = Bench()
    client, (worker,) = ahead(bench, 0.00001)
    for number, command in enumerate(["echo", "safe", "echo"], 1):
        bench.tell(client, m.Request(number, POOL, command), b"")
    assert [order.command for order in bench.orders(worker)] == ["echo"]


def test_an_idle_worker_comes_before_one_that_is_busy_with_something_short() -> None:
    bench = Bench()
    client, workers = ahead(bench, 0.00001, workers=2)
    for number in range(1, 3):
        bench.tell(client, m.Request(number, POOL, "echo"), b"")
    assert [len(bench.orders(worker)) for worker in workers] == [1, 1]


def test_what_waits_behind_a_request_that_turned_slow_is_recalled_and_goes_to_others() -> None:
    bench = Bench()
    client, (first, second) = ahead(bench, 0.00001, workers=2)
    for number in range(1, 7):
        bench.tell(client, m.Request(number, POOL, "echo"), b"")
    slow, *waiting = bench.orders(first)
    for order in bench.orders(second):
        bench.tell(second, m.WorkerReply(order.client, order.id, 1, 0.00001), b"")
    bench.advance(0.05)
    recalls = [
        message for peer in list(bench.inbox) for message, _ in bench.take(peer) if isinstance(message, m.Recall)
    ]
    assert [recall.id for recall in recalls] == [order.id for order in waiting]
    for recall in recalls:
        bench.tell(first, m.Returned(recall.client, recall.id, recall.attempt))
        bench.tell(first, m.Returned(recall.client, recall.id, recall.attempt))  # said twice, heard once
    taken = bench.orders(second)
    assert [(order.id, order.attempt) for order in taken] == [(order.id, 2) for order in waiting]
    assert not bench.orders(first), "behind the slow one again"
    assert slow.id not in {order.id for order in taken}


def test_a_command_that_was_slow_once_is_not_trusted_soon() -> None:
    bench = Bench()
    client, (worker,) = ahead(bench, 0.00001)
    bench.tell(client, m.Request(1, POOL, "echo"), b"")
    bench.tell(worker, m.WorkerReply(id128(7), 1, 1, 1.0), b"")
    bench.take(worker)
    for number in range(2, 5):
        bench.tell(client, m.Request(number, POOL, "echo"), b"")
    assert len(bench.orders(worker)) == 1


def test_a_deadline_on_the_workers_own_clock() -> None:
    bench = Bench(clock="boot-1", clock_ahead_s=5000.0)
    client = bench.client()
    same, other = bench.worker(100, clock="boot-1"), bench.worker(200, clock="boot-2")
    for n in (1, 2):
        bench.tell(client, m.Request(n, POOL, "echo", 2.0), b"")
    assert [order.due for order in bench.orders(same)] == [bench.now + 2.0 + 5000.0]
    assert [order.due for order in bench.orders(other)] == [0.0]


def test_a_deadline_on_the_clients_own_clock_does_not_move_while_the_request_is_on_its_way() -> None:
    bench = Bench(clock="boot-1", clock_ahead_s=5000.0)
    bench.worker()
    same, other = bench.peer(Side.CLIENTS), bench.peer(Side.CLIENTS)
    bench.say(same, m.Hello(id128(8), clock="boot-1"))
    bench.say(other, m.Hello(id128(9), clock="boot-2"))
    late = bench.now + 5000.0 - 0.1  # it took so long to get here
    bench.tell(same, echo(1, timeout=0.5, due=late), b"")
    bench.advance(0.01)
    code, said = details(bench.take(same)[0])
    assert (code, said["where"]) == ("deadline_exceeded", "queued")
    bench.tell(other, echo(1, timeout=0.5, due=late), b"")
    assert bench.take(other) == []


def test_answers_do_not_come_by_a_workers_second_connection() -> None:
    bench = Bench()
    client, worker = bench.client(), bench.worker()
    control = bench.peer(Side.WORKERS)
    bench.say(control, m.Attach(id128(100), id128(101)))
    assert bench.say(client, m.Request(1, POOL, "echo"), b"x") == []
    (order,) = bench.orders(worker)
    ((refused, _),) = bench.say(control, m.WorkerReply(order.client, order.id, order.attempt), b"r")
    assert isinstance(refused, m.Error)
    assert refused.code == "protocol_error"
    assert len(bench.core.state.requests) == 1
