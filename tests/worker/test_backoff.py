"""How long a place stays empty."""

from __future__ import annotations

from maitred.worker.backoff import Backoff, Budget


def test_a_worker_that_served_is_replaced_at_once() -> None:
    backoff = Backoff(0.1, 30)
    assert backoff.died(lived_s=60, was_ready=True) == 0


def test_who_dies_again_and_again_waits_longer_and_longer_up_to_a_limit() -> None:
    backoff = Backoff(0.1, 0.5)
    assert [backoff.died(1, True) for _ in range(6)] == [0, 0.1, 0.2, 0.4, 0.5, 0.5]


def test_a_steady_life_starts_the_count_again() -> None:
    backoff = Backoff(0.1, 30)
    for _ in range(5):
        backoff.died(1, True)
    assert backoff.died(11, True) == 0


def test_who_has_served_is_no_failure_however_short_its_life() -> None:
    backoff = Backoff(0.1, 30)
    assert [backoff.died(0.1, True, served=1) for _ in range(5)] == [0] * 5


def test_who_never_gets_ready_waits_from_the_first_death_and_is_hopeless_after_three() -> None:
    backoff = Backoff(0.1, 30)
    assert [backoff.died(0.01, False) for _ in range(3)] == [0.1, 0.2, 0.4]
    assert backoff.hopeless
    backoff.died(1, True)
    assert not backoff.hopeless


def test_a_budget_is_spent_by_so_many_deaths_in_its_window_and_says_so_once() -> None:
    budget = Budget(3, 10.0)
    assert [budget.died(now) for now in (0.0, 9.0, 11.0, 12.0, 13.0)] == [False, False, False, True, False]
    assert budget.spent_at == 12.0


def test_a_forgiven_budget_is_whole_again() -> None:
    budget = Budget(2, 10.0)
    budget.died(0.0)
    budget.died(1.0)
    budget.forgive()
    assert budget.spent_at is None
    assert [budget.died(now) for now in (2.0, 3.0)] == [False, True]
