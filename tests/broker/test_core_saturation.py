"""A full pool: who is refused, what he is told, and whether it is true."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from broker_peers import POOL, Bench, details, id128

from maitred.broker.core.effects import Peer
from maitred.broker.core.settings import ClientSettings, PoolSettings
from maitred.protocol import messages as m
from maitred.protocol.limits import MAX_RETRY_AFTER_S

CLIENT = id128(7)
SERVICE_S = 0.1


def echo(n: int, **fields: Any) -> m.Request:
    return m.Request(n, POOL, "echo", **fields)


def a_bench(**pool: Any) -> Bench:
    return Bench(pools=[PoolSettings(POOL, **pool)])


class Steady:
    """A pool of one worker that takes SERVICE_S for each request, and callers that come back as they are told."""

    def __init__(self, bench: Bench, worker: Peer) -> None:
        self.bench = bench
        self.worker = worker
        self.busy: m.Dispatch | None = None
        self.done_at = 0.0
        self.answers: list[tuple[Any, Sequence[Any]]] = []

    def run(self, seconds: float, client: Peer) -> None:
        end = self.bench.now + seconds
        while True:
            self.take()
            at = min(self.done_at if self.busy else end, end)
            self.beat(client, at)
            self.answers += self.bench.take(client)
            if at >= end and not (self.busy and self.done_at <= end):
                return
            if self.busy is not None and self.done_at <= self.bench.now:
                order, self.busy = self.busy, None
                reply = m.WorkerReply(order.client, order.id, order.attempt, SERVICE_S)
                self.bench.tell(self.worker, reply, b"")

    def beat(self, client: Peer, until: float) -> None:
        while self.bench.now < until:
            self.bench.advance(min(until - self.bench.now, 1.0))
            self.bench.tell(client, m.Heartbeat())
            self.bench.tell(self.worker, m.Heartbeat())
            self.take()

    def take(self) -> None:
        for order in self.bench.orders(self.worker):
            assert self.busy is None
            self.busy, self.done_at = order, self.bench.now + SERVICE_S


def test_bytes_are_bounded_and_one_large_request_may_pass_alone() -> None:
    bench = a_bench(max_queue_bytes=100)
    client, worker = bench.client(), bench.worker()
    bench.tell(client, echo(1), b"x" * 150)
    assert len(bench.orders(worker)) == 1
    code, said = details(bench.say(client, echo(2), b"x")[0])
    assert (code, said["reason"]) == ("resource_exhausted", "queue_bytes")
    bench.tell(worker, m.WorkerReply(CLIENT, 1, 1), b"")
    bench.take(client)
    bench.tell(client, echo(3), b"x" * 60)
    bench.tell(client, echo(4), b"x" * 40)
    assert details(bench.say(client, echo(5), b"x")[0])[1]["reason"] == "queue_bytes"


def test_the_bytes_of_all_pools_are_bounded_too() -> None:
    bench = Bench(pools=[PoolSettings(POOL), PoolSettings("other")], max_queued_bytes=100)
    client = bench.client()
    bench.tell(client, m.Request(1, "other", "echo"), b"x" * 80)
    code, said = details(bench.say(client, echo(2), b"x" * 21)[0])
    assert (code, said["reason"], said["pool"]) == ("resource_exhausted", "broker_bytes", POOL)


def test_a_clients_requests_in_flight_are_limited_over_all_its_connections() -> None:
    limits = {"nightly": ClientSettings(max_in_flight=2)}
    bench = Bench(client=lambda name: limits.get(name, ClientSettings()))
    first, second = (bench.peer(bench.client().side) for _ in range(2))
    for peer in (first, second):
        bench.say(peer, m.Hello(id128(40), name="nightly"))
    bench.tell(first, echo(1), b"")
    bench.tell(second, echo(2), b"")
    code, said = details(bench.say(second, echo(3), b"")[0])
    assert (code, said["reason"], said["capacity"]) == ("resource_exhausted", "client_limit", 2)
    other = bench.client(41)
    bench.tell(other, echo(1), b"")
    assert bench.take(other) == []


def test_nothing_is_told_while_nothing_is_known() -> None:
    bench = a_bench(max_queue=1)
    client = bench.client()
    bench.worker()
    bench.tell(client, echo(1), b"")
    code, said = details(bench.say(client, echo(2), b"")[0])
    assert (code, said["reason"]) == ("resource_exhausted", "queue_full")
    assert "retry_after" not in said
    assert "ticket" not in said


def test_refused_callers_are_told_times_of_their_own_and_find_room_then() -> None:
    bench = a_bench(max_queue=10)
    client, worker = bench.client(), bench.worker()
    steady = Steady(bench, worker)
    number = iter(range(10**6))
    for _ in range(10):
        bench.tell(client, echo(next(number)), b"")
    steady.run(0.25, client)  # it knows its pace now
    while bench.core.state.pools[POOL].load < 10:
        bench.tell(client, echo(next(number)), b"")
    steady.answers.clear()
    waits: list[tuple[float, int]] = []
    for _ in range(8):
        code, said = details(bench.say(client, echo(next(number)), b"")[0])
        assert code == "resource_exhausted"
        waits.append((said["retry_after"], said["ticket"]))
    assert len({round(wait, 2) for wait, _ in waits}) == 8, "a crowd that was refused together comes back together"
    for (wait, _), place in zip(sorted(waits), range(1, 9), strict=True):
        assert place * SERVICE_S <= wait <= (place + 1.5) * SERVICE_S
    began = bench.now
    for wait, ticket in sorted(waits):
        steady.run(began + wait - bench.now, client)
        steady.answers.clear()
        newcomer = bench.say(client, echo(next(number)), b"")
        assert newcomer, "a newcomer took the place of one who came back as told"
        came_back = bench.say(client, echo(next(number), ticket=ticket), b"")
        assert not came_back, came_back


def test_who_comes_too_soon_keeps_his_place() -> None:
    bench = a_bench(max_queue=1)
    client, worker = bench.client(), bench.worker()
    bench.tell(client, echo(1), b"")
    bench.orders(worker)
    bench.advance(0.5)
    bench.tell(worker, m.WorkerReply(CLIENT, 1, 1, 0.5), b"")
    bench.take(client)
    bench.tell(client, echo(2), b"")
    _, first = details(bench.say(client, echo(3), b"")[0])
    bench.advance(0.1)
    _, again = details(bench.say(client, echo(4, ticket=first["ticket"]), b"")[0])
    assert again["ticket"] == first["ticket"]
    assert again["retry_after"] == pytest.approx(first["retry_after"] - 0.1)


def test_a_place_is_kept_for_one_client_and_no_other() -> None:
    bench = a_bench(max_queue=1)
    client, other, worker = bench.client(), bench.client(8), bench.worker()
    bench.tell(client, echo(1), b"")
    bench.orders(worker)
    bench.advance(0.5)
    bench.tell(worker, m.WorkerReply(CLIENT, 1, 1, 0.5), b"")
    bench.tell(client, echo(2), b"")
    bench.take(client)
    _, first = details(bench.say(client, echo(3), b"")[0])
    bench.advance(0.1)
    _, stolen = details(bench.say(other, echo(1, ticket=first["ticket"]), b"")[0])
    assert stolen["ticket"] != first["ticket"]
    assert len(bench.core.state.pools[POOL].outside) == 2


def test_places_of_those_who_never_come_back_keep_nobody_out_for_long() -> None:
    """An open loop of twice what the pool can do, without retries: it goes on working at its full rate."""
    bench = a_bench(max_queue=20)
    client, worker = bench.client(), bench.worker()
    steady = Steady(bench, worker)
    done_before = 0
    for n in range(1200):
        bench.tell(client, echo(n), b"")
        steady.run(SERVICE_S / 2, client)
        if n == 199:
            done_before = bench.core.state.pools[POOL].completed
    done = bench.core.state.pools[POOL].completed - done_before
    assert done >= 0.97 * 1000 / 2


def test_the_longest_wait_that_is_told_has_a_bound() -> None:
    bench = a_bench(max_queue=1)
    client, worker = bench.client(), bench.worker()
    bench.tell(client, echo(1, timeout=500.0), b"")
    bench.orders(worker)
    for _ in range(90):
        bench.advance(1.0)
        bench.tell(client, m.Heartbeat())
        bench.tell(worker, m.Heartbeat())
    bench.tell(worker, m.WorkerReply(CLIENT, 1, 1, 90.0), b"")
    bench.take(client)
    bench.tell(client, echo(2), b"")
    assert details(bench.say(client, echo(3), b"")[0])[1]["retry_after"] == MAX_RETRY_AFTER_S


def test_what_would_not_be_begun_in_time_is_refused_at_once() -> None:
    bench = a_bench()
    client, worker = bench.client(), bench.worker()
    steady = Steady(bench, worker)
    for n in range(40):
        bench.tell(client, echo(n), b"")
    steady.run(1.0, client)
    steady.answers.clear()
    code, said = details(bench.say(client, echo(100, timeout=0.5), b"")[0])
    assert (code, said["reason"]) == ("resource_exhausted", "expected_wait")
    assert 1.0 < said["retry_after"] < 5.0
    other = bench.client(8)
    assert bench.say(other, echo(1, timeout=0.5), b"") == []  # his turn comes next
    assert bench.say(client, echo(101, timeout=20.0), b"") == []
    assert bench.say(client, echo(102, timeout=0.5, priority=m.HIGH), b"") == []


def test_levels_rise_at_once_and_fall_slowly_and_watchers_are_told_each_change() -> None:
    bench = a_bench(max_queue=10)
    watcher, client, worker = bench.client(8), bench.client(), bench.worker(slots=10)
    ((now, _),) = bench.say(watcher, m.Watch(1, POOL))
    assert now == m.Pressure(1, POOL, m.LEVEL_OK, 0, 10)
    for n in range(7):
        bench.tell(client, echo(n), b"")
    assert [message.level for message, _ in bench.take(watcher)] == [m.LEVEL_HIGH]
    for n in range(7, 11):
        bench.tell(client, echo(n), b"")
    (full,) = [message for message, _ in bench.take(watcher)]
    assert full.level == m.LEVEL_FULL
    bench.take(client)
    for n in range(8):
        ((reply, _),) = [bench.tell(worker, m.WorkerReply(CLIENT, n, 1, 0.1), b""), bench.take(client)][1]
        assert reply.level == m.LEVEL_FULL  # it stays for a moment
    bench.advance(0.6)
    bench.tell(worker, m.WorkerReply(CLIENT, 8, 1, 0.1), b"")
    bench.advance(2.0)
    assert [message.level for message, _ in bench.take(watcher)] == [m.LEVEL_HIGH, m.LEVEL_OK]
    assert [note.fields["level"] for note in bench.events("pool.pressure")] == ["high", "full", "high", "ok"]
    bench.tell(watcher, m.Cancel(1))
    assert not bench.core.state.pools[POOL].watchers


def test_who_watches_a_pool_that_is_not_there_is_told_so() -> None:
    bench = Bench()
    code, said = details(bench.say(bench.client(), m.Watch(1, "generl"))[0])
    assert (code, said["nearest"]) == ("unknown_pool", POOL)


def test_a_watcher_that_is_gone_is_forgotten() -> None:
    bench = Bench()
    client = bench.client()
    bench.say(client, m.Watch(1, POOL))
    bench.perform(bench.core.undeliverable(client, m.Heartbeat(), bench.now))
    assert not bench.core.state.pools[POOL].watchers
