"""How fast a pool is, which places are kept, how full it is: the three judgements by themselves."""

from __future__ import annotations

import pytest
from broker_peers import POOL

from maitred.broker.core import pool as pool_of_core
from maitred.broker.core.effects import Peer, Side
from maitred.broker.core.model import Identity, Request
from maitred.broker.core.pace import FRESH_S, LONGEST_WINDOW_S, Pace
from maitred.broker.core.places import KEEP_S, KEEP_SHARE, Places
from maitred.broker.core.pressure import HOLD_S, level_of
from maitred.broker.core.queue import Queue
from maitred.broker.core.settings import ClientSettings, PoolSettings
from maitred.protocol.limits import MAX_RETRY_AFTER_S
from maitred.protocol.messages import LEVEL_FULL, LEVEL_HIGH, LEVEL_OK

ONE, OTHER = b"1" * 16, b"2" * 16


class Pool:
    """A queue that is filled and emptied by hand, and its pace."""

    def __init__(self, slots: int) -> None:
        self.queue = Queue()
        self.pace = Pace(self.queue)
        self.pace.staffed(slots)
        self.numbers = iter(range(10**6))
        self.now = 0.0

    def wait(self, command: str = "echo", count: int = 1) -> None:
        for _ in range(count):
            number = next(self.numbers)
            made = Request((ONE, number), Peer(Side.CLIENTS, b""), IDENTITY, A_POOL, command, [b""], 0)
            made.admitted = number
            self.queue.push(made)

    def done(self, command: str, took_s: float, *at: float) -> None:
        for now in at:
            self.now = now
            self.pace.completed(command, took_s, now)


IDENTITY = Identity(ONE, "", ClientSettings(), 0.0)
A_POOL = pool_of_core.Pool(PoolSettings(POOL), 0.0)


def test_nothing_is_known_at_first_and_then_the_work_is() -> None:
    pool = Pool(4)
    assert pool.pace.interval_s(pool.now) is None
    pool.done("echo", 0.1, *range(100))  # one at a time, now and then: what it was asked, not what it can do
    assert pool.pace.interval_s(pool.now) == pytest.approx((0.025, 0.025))


def test_in_a_backlog_the_rate_is_measured_and_counts_besides() -> None:
    pool = Pool(4)
    pool.wait(count=2)
    pool.done("echo", 0.1, *(n * 0.05 for n in range(200)))  # half of what its work would allow
    assert pool.pace.interval_s(pool.now) == pytest.approx((0.025, 0.05), rel=0.02)
    pool.done("echo", 0.1, *(11 + n * 0.03 for n in range(200)))
    assert pool.pace.interval_s(pool.now) == pytest.approx((0.025, 0.03), rel=0.1)


def test_a_measure_does_not_outlive_its_backlog() -> None:
    """What came of it before: refusals by a rate of long ago, which kept away the work that would have renewed it."""
    pool = Pool(1)
    pool.wait("slow", count=12)
    pool.done("slow", 10.0, *(n * 10.0 for n in range(12)))
    while pool.queue:
        pool.queue.pop()
    pool.now += FRESH_S + 0.1
    assert pool.pace.measured_s(pool.now) is None
    pool.wait("fast", count=6)
    pool.done("fast", 0.02, *(1000.0 + n * 0.02 for n in range(6)))
    assert (pool.pace.interval_s(pool.now) or (0, 0))[1] == pytest.approx(0.02, rel=0.01)


def test_other_work_is_believed_at_once() -> None:
    pool = Pool(2)
    pool.wait("fast", count=2)
    pool.done("fast", 0.01, *(n * 0.005 for n in range(1000)))
    pool.done("slow", 1.0, 5.0)
    pool.wait("slow", count=100)
    shorter, longer = pool.pace.interval_s(pool.now) or (0.0, 0.0)
    assert shorter == pytest.approx(0.005, rel=0.02)
    assert longer > 0.45  # it is told the longer, and refused by the shorter
    pool.done("slow", 1.0, *(5.5 + n * 0.5 for n in range(20)))
    assert (pool.pace.measured_s(pool.now) or 0) == pytest.approx(0.5, rel=0.1)


def test_a_first_call_that_loads_something_says_nothing_of_the_next() -> None:
    pool = Pool(1)
    pool.done("echo", 5.0, 0.0)
    pool.done("echo", 0.02, 1.0, 2.0)
    assert pool.pace.means_s == pytest.approx((0.02, 0.02))


def test_a_pool_too_slow_to_be_measured_is_known_by_its_work() -> None:
    pool = Pool(1)
    pool.wait(count=2)
    pool.done("echo", 60.0, *(n * 60.0 for n in range(10)))
    assert pool.pace.measured_s(pool.now) is None
    assert pool.pace.interval_s(pool.now) == pytest.approx((60.0, 60.0))
    assert LONGEST_WINDOW_S < 60


def test_with_other_workers_the_rate_is_another() -> None:
    pool = Pool(2)
    pool.wait(count=2)
    pool.done("echo", 0.01, *(n * 0.01 for n in range(300)))
    assert pool.pace.measured_s(pool.now) == pytest.approx(0.01, rel=0.02)
    pool.pace.staffed(1)
    assert pool.pace.measured_s(pool.now) is None


def test_places_are_a_completion_apart_and_after_those_before() -> None:
    places = Places()
    waits = [places.keep(ticket, ONE, 1, 0.1, 0.0)[0] for ticket in range(20)]
    assert all(0.1 * place <= wait <= 0.1 * (place + 1.1) * 1.03 for place, wait in enumerate(sorted(waits), 1))
    assert places.expected == 20


def test_places_that_nobody_takes_up_count_less_and_less() -> None:
    places, now = Places(), 0.0
    for ticket in range(400):
        places.keep(ticket, ONE, 1, 0.1, now)
        now += 0.1
        places.expire(now)
    assert places.expected <= 1
    wait, _ = places.keep(1000, ONE, 1, 0.1, now)
    assert wait < 0.4
    for ticket in range(2000, 2100):
        places.keep(ticket, ONE, 1, 0.1, now)
        places.take_up(ticket, True)
    assert places.expected == len(places)


def test_places_are_by_turns_and_not_in_one_line() -> None:
    places = Places()
    for ticket in range(400):
        places.keep(ticket, ONE, 1, 0.1, 0.0)
    wait, _ = places.keep(1000, OTHER, 1, 0.1, 0.0)
    assert wait < 0.5
    again, _ = places.keep(1001, OTHER, 1, 0.1, 0.0)
    assert wait < again < 0.8


def test_who_is_told_the_longest_wait_keeps_the_place_that_is_further_away() -> None:
    places = Places()
    wait, kept = places.keep(1, ONE, 450, 0.1, 0.0)
    assert (wait, kept) == (MAX_RETRY_AFTER_S, True)
    left = places.wait_left(1, ONE, MAX_RETRY_AFTER_S)
    assert left is not None
    assert 14 < left < 19


def test_one_long_wait_does_not_keep_others_places_alive() -> None:
    places = Places()
    places.keep(1, ONE, 300, 0.1, 0.0)
    for ticket in range(2, 52):
        places.keep(ticket, OTHER, 1, 0.0001, 0.0)
    places.expire(5.0)
    assert len(places) == 1


def test_a_place_is_kept_for_a_while_and_for_one_only() -> None:
    places = Places()
    wait, kept = places.keep(7, ONE, 1, 0.1, 0.0)
    assert kept
    assert places.wait_left(7, ONE, 0.0) == wait
    assert places.wait_left(7, OTHER, 0.0) is None
    assert places.wait_left(7, ONE, wait) == 0.0
    places.expire(wait + KEEP_S + KEEP_SHARE * wait - 0.001)
    assert places.wait_left(7, ONE, wait) == 0.0
    places.expire(wait + KEEP_S + KEEP_SHARE * wait)
    assert places.wait_left(7, ONE, wait) is None


def test_nobody_is_told_more_than_the_longest_wait() -> None:
    assert Places().keep(1, ONE, 10_000, 1.0, 0.0)[0] == MAX_RETRY_AFTER_S


@pytest.mark.parametrize(
    ("before", "fill", "refused", "since_s", "now"),
    [
        (LEVEL_OK, 0.69, False, 9, LEVEL_OK),
        (LEVEL_OK, 0.7, False, 0, LEVEL_HIGH),
        (LEVEL_OK, 0.1, True, 0, LEVEL_FULL),
        (LEVEL_HIGH, 0.5, False, 9, LEVEL_HIGH),
        (LEVEL_HIGH, 0.49, False, HOLD_S - 0.01, LEVEL_HIGH),
        (LEVEL_HIGH, 0.49, False, HOLD_S, LEVEL_OK),
        (LEVEL_HIGH, 1.0, False, 0, LEVEL_FULL),
        (LEVEL_FULL, 0.9, False, 9, LEVEL_FULL),
        (LEVEL_FULL, 0.1, False, HOLD_S, LEVEL_HIGH),  # one step at a time
    ],
)
def test_levels_have_hysteresis(before: int, fill: float, refused: bool, since_s: float, now: int) -> None:
    assert level_of(before, fill, refused, since_s) == now
