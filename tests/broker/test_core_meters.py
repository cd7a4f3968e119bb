"""What the core counts: each accepted request once, whatever becomes of it."""

from __future__ import annotations

import math
from itertools import accumulate

import msgpack
import pytest
from broker_peers import POOL, Bench, PoolSettings, id128
from hypothesis import given
from hypothesis import strategies as st

from maitred.broker.core.effects import Peer
from maitred.broker.core.meters import BOUNDS_S, Histogram, Meters, known
from maitred.protocol import messages

VALUES = st.lists(st.floats(0.0, 2_000.0), max_size=200)


@given(VALUES)
def test_a_histogram_has_every_value_in_one_bucket(values: list[float]) -> None:
    histogram = Histogram()
    for value in values:
        histogram.observe(value)
    assert histogram.count == len(values)
    assert histogram.total == pytest.approx(math.fsum(values))
    below = list(accumulate(histogram.counts))
    assert below == sorted(below)
    assert below == [sum(value <= bound for value in values) for bound in (*BOUNDS_S, math.inf)]


def test_the_buckets_are_as_they_were() -> None:  # to change them spoils what servers have kept
    assert (BOUNDS_S[0], BOUNDS_S[-1], len(BOUNDS_S)) == (0.001, 600.0, 18)
    assert sorted(set(BOUNDS_S)) == list(BOUNDS_S)


def test_a_word_of_a_peer_makes_no_new_series() -> None:
    meters = Meters()
    for n in range(1000):
        meters.fail(f"code {n}", 0.0)
    assert meters.failed == {"other": 1000}
    assert known({"oom": 1, "x": 2, "y": 3}, ["oom", "exit"]) == {"oom": 1, "exit": 0, "other": 5}


def call(bench: Bench, client: Peer, n: int, command: str = "echo", **fields: object) -> None:
    bench.tell(client, messages.Request(n, POOL, command, **fields), msgpack.packb({}))  # pyright: ignore


def meters(bench: Bench) -> Meters:
    return bench.core.state.pools[POOL].meters


def test_time_and_wait_of_requests_that_are_answered() -> None:
    bench = Bench()
    client, worker = bench.client(), bench.worker(prefetch=0)
    call(bench, client, 1)
    call(bench, client, 2)
    bench.advance(0.2)
    bench.tell(worker, messages.WorkerReply(id128(7), 1, 1), b"\xc0")
    bench.advance(0.3)
    bench.tell(worker, messages.WorkerError(id128(7), 2, 1, "application_error", "no"), b"\x80")
    it = meters(bench)
    assert (it.durations.count, it.durations.total) == (2, pytest.approx(0.2 + 0.5))
    assert (it.waits.count, it.waits.total) == (2, pytest.approx(0.2))
    assert it.failed == {"application_error": 1}
    assert bench.row("pools")["completed"] == 1


def test_ends_that_no_worker_decides() -> None:
    bench = Bench()
    client, other = bench.client(), bench.client(8)
    call(bench, client, 1, timeout=0.5)
    call(bench, client, 2)
    call(bench, other, 1)
    bench.advance(1.0)
    bench.tell(client, messages.Cancel(2))
    bench.tell(other, messages.Bye())
    it = meters(bench)
    assert it.failed == {"deadline_exceeded": 1, "cancelled": 1, "client_lost": 1}
    assert (it.durations.count, it.durations.total) == (3, pytest.approx(0.5 + 1.0 + 1.0))
    assert it.waits.count == 0


def test_a_request_that_is_run_again_has_waited_once() -> None:
    bench = Bench()
    client, agent = bench.client(), bench.agent()
    worker = bench.worker()
    bench.tell(agent, messages.Spawned(id128(100), 1))
    call(bench, client, 1, "safe")
    bench.advance(0.1)
    bench.tell(agent, messages.Died(id128(100), messages.Certificate("signal"), [(id128(7), 1)]))
    bench.advance(0.1)
    worker = bench.worker(200)
    assert len(bench.orders(worker)) == 1
    assert (meters(bench).waits.count, meters(bench).waits.total) == (1, 0.0)
    found = bench.core.state.detections["agent"]
    assert (found.count, found.total) == (1, pytest.approx(0.1))


def test_who_is_sent_away_is_counted_by_code_and_reason() -> None:
    bench = Bench(pools=[PoolSettings(POOL, max_queue=1)])
    client = bench.client()
    bench.worker(prefetch=0)
    for n in range(3):
        call(bench, client, n)
    call(bench, client, 9, "eco")
    bench.tell(client, messages.Request(10, "gneral", "echo"), b"\x80")
    it = meters(bench)
    assert it.refused == {"resource_exhausted": 2, "unknown_command": 1}
    assert it.sheds == {"queue_full": 2}
    assert bench.core.state.unknown_pools == 1
    assert it.durations.count == 0


def test_sessions_and_batches() -> None:
    bench = Bench()
    client = bench.client()
    worker = bench.worker(100, 1, messages.CommandInfo("echo", batch=4, max_wait=0.0))
    bench.tell(client, messages.Open(1, id128(40), POOL), b"\x80")
    bench.tell(client, messages.Session(2, id128(40), "close"))
    for n in range(3, 6):
        call(bench, client, n)
    assert meters(bench).sessions == {"opened": 1, "closed": 1}
    bench.tell(worker, messages.WorkerReply(id128(7), 3, 1), b"\xc0")
    assert (meters(bench).batches, meters(bench).batched) == (2, 3)
