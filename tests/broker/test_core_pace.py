"""How fast a pool is, which places are kept, how full it is: the three judgements by themselves."""

from __future__ import annotations

import pytest

from maitred.broker.core.completions import MIN_COMPLETED, WINDOW_S, Completions
from maitred.broker.core.places import KEEP_S, KEEP_SHARE, Places
from maitred.broker.core.pressure import HOLD_S, level_of
from maitred.protocol.limits import MAX_RETRY_AFTER_S
from maitred.protocol.messages import LEVEL_FULL, LEVEL_HIGH, LEVEL_OK

ONE, OTHER = b"1" * 16, b"2" * 16


def test_the_rate_is_that_of_time_in_which_something_always_waited() -> None:
    pace = Completions()
    pace.staffed(4)
    assert pace.rate is None
    for n in range(100):  # one at a time, now and then: what it was asked, not what it can do
        pace.completed(0.1, False, n * 1.0)
    assert pace.rate == pytest.approx(4 / 0.1)
    for n in range(200):
        pace.completed(0.1, True, 1000 + n * 0.02)
    assert pace.rate == pytest.approx(50, rel=0.02)
    for n in range(300):
        pace.completed(0.1, True, 1004 + n * 0.01)
    assert 75 < (pace.rate or 0) <= 100


def test_a_slow_pool_is_judged_once_it_has_completed_enough() -> None:
    pace = Completions()
    pace.staffed(1)
    for n in range(MIN_COMPLETED + 2):
        pace.completed(60.0, True, n * 120.0)
    assert pace.rate == pytest.approx(1 / 120)
    assert WINDOW_S < 120


def test_with_other_workers_the_rate_is_another() -> None:
    pace = Completions()
    pace.staffed(2)
    for n in range(200):
        pace.completed(0.01, True, n * 0.01)
    assert pace.rate == pytest.approx(100, rel=0.02)
    pace.staffed(1)
    assert pace.rate == pytest.approx(1 / 0.01)


def test_places_are_a_completion_apart_and_after_those_before() -> None:
    places = Places()
    waits = [places.keep(ticket, ONE, 1, 10.0, 0.0)[0] for ticket in range(20)]
    assert all(0.1 * place <= wait <= 0.1 * (place + 1.1) * 1.03 for place, wait in enumerate(sorted(waits), 1))
    assert places.expected == 20


def test_places_that_nobody_takes_up_count_less_and_less() -> None:
    places, now = Places(), 0.0
    for ticket in range(400):
        places.keep(ticket, ONE, 1, 10.0, now)
        now += 0.1
        places.expire(now)
    assert places.expected <= 1
    wait, _ = places.keep(1000, ONE, 1, 10.0, now)
    assert wait < 0.4
    for ticket in range(2000, 2100):
        places.keep(ticket, ONE, 1, 10.0, now)
        places.take_up(ticket, True)
    assert places.expected == len(places)


def test_a_place_is_kept_for_a_while_and_for_one_only() -> None:
    places = Places()
    wait, kept = places.keep(7, ONE, 1, 10.0, 0.0)
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
