"""The last minutes of a pool: rates between two looks, quantiles of what ended between them."""

from __future__ import annotations

import random
import statistics

import pytest
from broker_peers import POOL, Bench

from maitred.broker.core.meters import BOUNDS_S, Histogram
from maitred.broker.core.settings import PoolSettings
from maitred.broker.web.history import FIELDS, KEPT, MAX_POOLS, History, quantile
from maitred.protocol import messages as m


def echo(number: int) -> m.Request:
    return m.Request(number, POOL, "echo")


def test_a_quantile_is_within_the_bucket_of_the_true_one() -> None:
    chance = random.Random(7)
    for _ in range(20):
        values = [chance.expovariate(1 / chance.uniform(0.002, 2.0)) for _ in range(500)]
        histogram = Histogram()
        for value in values:
            histogram.observe(value)
        for share in (0.5, 0.99):
            true = statistics.quantiles(values, n=100, method="inclusive")[int(100 * share) - 1]
            found = quantile(share, histogram.counts, histogram.bounds)
            assert found is not None
            place = next(i for i, bound in enumerate(BOUNDS_S) if true <= bound)
            least = BOUNDS_S[place - 2] if place > 1 else 0.0
            assert least <= found <= BOUNDS_S[min(place + 1, len(BOUNDS_S) - 1)]


def test_a_quantile_of_nothing_is_none_and_of_the_largest_is_the_last_bound() -> None:
    assert quantile(0.5, [0, 0, 0], (1.0, 2.0)) is None
    assert quantile(0.5, [0, 0, 4], (1.0, 2.0)) == 2.0
    assert quantile(0.5, [4, 0, 0], (1.0, 2.0)) == 0.5


def test_rates_are_what_came_between_two_looks() -> None:
    bench = Bench(pools=[PoolSettings(POOL, max_queue=3)])
    client, worker = bench.client(), bench.worker()
    history = History()
    history.look(bench.core.state, bench.now)
    assert history.last(POOL) == {}
    for number in range(1, 6):
        bench.tell(client, echo(number), b"")
    for order in bench.orders(worker):
        bench.tell(worker, m.WorkerReply(order.client, order.id, order.attempt), b"")
    bench.now += 2.0
    history.look(bench.core.state, bench.now)
    found = history.last(POOL)
    assert tuple(found) == FIELDS
    assert (found["arrivals"], found["completions"], found["shed"]) == (2.5, 0.5, 1.0)
    assert (found["workers"], found["busy"], found["queued"]) == (1, 1, 1)
    bench.now += 2.0
    history.look(bench.core.state, bench.now)
    assert history.last(POOL)["arrivals"] == 0.0
    assert history.everything()[POOL]["arrivals"] == [2.5, 0.0]


def test_it_is_bounded_in_time_and_pools() -> None:
    bench = Bench(pools=[PoolSettings(f"p{n}") for n in range(MAX_POOLS + 5)])
    history = History()
    for _ in range(KEPT + 5):
        bench.now += 2.0
        history.look(bench.core.state, bench.now)
    assert len(history.samples) == MAX_POOLS
    assert {len(samples) for samples in history.samples.values()} == {KEPT}


@pytest.mark.parametrize("missing", [None, 1])
def test_a_pool_that_comes_later_has_its_own_beginning(missing: int | None) -> None:
    bench = Bench(pools=[PoolSettings(POOL)])
    history = History()
    for _ in range(3):
        bench.now += 2.0
        history.look(bench.core.state, bench.now)
    assert len(history.everything()[POOL]["p50"]) == 2
    assert history.everything()[POOL]["p50"] == [None, None]
