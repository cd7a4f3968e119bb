"""When a pool grows and shrinks, and by how many: numbers in, a size out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from maitred.broker.core.settings import PoolSettings
from maitred.broker.core.sizing import Demand, Sizing

SETTINGS = PoolSettings("p", scale_up_after_s=0.5, scale_down_after_s=60.0, scale_cooldown_s=1.0)


def demand(
    size: int = 2, *, starting: int = 0, least: int = 1, most: int = 8, needed: int = 0, **more: object
) -> Demand:
    return Demand(size, starting, least, most, needed, **more)  # type: ignore[arg-type]


def settled(needed: int = 0, size: int = 2) -> Sizing:
    """One that has seen a whole window, which ended at 0."""
    sizing = Sizing(SETTINGS)
    for at in range(-61, 1):
        sizing.decide(demand(size, least=min(size, 1), needed=needed if at < 0 else size), float(at))
    return sizing


def test_a_queue_that_is_young_changes_nothing() -> None:
    assert Sizing(SETTINGS).decide(demand(waiting=50, oldest_wait_s=0.49, service_s=1.0), 0.0) == 2


def test_it_grows_to_what_clears_the_queue_within_its_age() -> None:
    # 12 requests of 0.2 s within 0.5 s: 4.8 workers
    assert Sizing(SETTINGS).decide(demand(waiting=12, oldest_wait_s=0.5, service_s=0.2), 0.0) == 5


def test_workers_with_several_slots_count_so_many_times() -> None:
    assert Sizing(SETTINGS).decide(demand(waiting=12, oldest_wait_s=0.5, service_s=0.2, slots=2), 0.0) == 3


def test_it_doubles_where_nothing_is_known() -> None:
    assert Sizing(SETTINGS).decide(demand(3, waiting=1, oldest_wait_s=0.6), 0.0) == 6


def test_it_grows_by_one_at_least_where_those_there_are_did_not_suffice() -> None:
    assert Sizing(SETTINGS).decide(demand(waiting=1, oldest_wait_s=0.6, service_s=0.01), 0.0) == 3


def test_those_that_are_starting_count() -> None:
    assert Sizing(SETTINGS).decide(demand(4, starting=2, waiting=8, oldest_wait_s=0.6, service_s=0.2), 0.0) == 4
    assert Sizing(SETTINGS).decide(demand(4, starting=2, waiting=8, oldest_wait_s=0.6), 0.0) == 4
    assert Sizing(SETTINGS).decide(demand(4, starting=2, waiting=15, oldest_wait_s=0.6, service_s=0.2), 0.0) == 6


def test_a_request_that_waits_is_reason_enough_where_nobody_is_there() -> None:
    assert Sizing(SETTINGS).decide(demand(0, least=0, waiting=1), 0.0) == 1
    assert Sizing(SETTINGS).decide(demand(0, least=0, waiting=10, service_s=0.2), 0.0) == 4


def test_one_change_a_cooldown() -> None:
    sizing = Sizing(SETTINGS)
    assert sizing.decide(demand(1, waiting=1, oldest_wait_s=0.6), 10.0) == 2
    assert sizing.decide(demand(2, waiting=9, oldest_wait_s=1.5), 10.9) == 2
    assert sizing.decide(demand(2, waiting=9, oldest_wait_s=1.6), 11.0) == 4


def test_it_shrinks_to_the_most_that_were_needed_in_the_window() -> None:
    sizing = settled(size=8)
    assert sizing.decide(demand(8, needed=3), 30.0) == 8
    assert sizing.decide(demand(8, needed=1), 59.0) == 8
    assert sizing.decide(demand(8, needed=1), 60.5) == 3
    assert sizing.decide(demand(3, needed=0), 89.0) == 3
    assert sizing.decide(demand(3, needed=0), 121.0) == 1


def test_a_size_that_a_person_chose_is_kept_for_a_window() -> None:
    sizing = settled(size=2)
    sizing.changed(6, 10.0)
    assert sizing.decide(demand(6), 69.0) == 6
    assert sizing.decide(demand(6), 70.5) == 1


def test_nothing_shrinks_before_a_whole_window_is_known() -> None:
    sizing = Sizing(SETTINGS)
    assert [sizing.decide(demand(8), at) for at in (0.0, 30.0, 59.9)] == [8, 8, 8]
    assert sizing.decide(demand(8), 60.0) == 1


def test_it_comes_back_within_its_bounds() -> None:
    assert Sizing(SETTINGS).decide(demand(9), 0.0) == 8
    assert Sizing(SETTINGS).decide(demand(0), 0.0) == 1


def test_load_that_comes_and_goes_faster_than_the_window_changes_nothing_once_it_has_grown() -> None:
    sizing, size, changes = Sizing(SETTINGS), 1, 0
    for step in range(6000):  # ten minutes: 20 s of load for 6 workers, 20 s of none
        busy = step // 200 % 2 == 0
        waiting = 5 if busy and size < 6 else 0
        now = demand(size, needed=6 if busy else 0, waiting=waiting, oldest_wait_s=0.6, service_s=0.6)
        after = sizing.decide(now, step / 10)
        changes += after != size
        size = after
    assert (size, changes) == (6, 1)


@given(
    st.lists(
        st.tuples(
            st.floats(0.01, 40.0), st.integers(0, 12), st.integers(0, 40), st.floats(0.0, 5.0),
            st.sampled_from([None, 0.001, 0.2, 3.0]), st.integers(0, 3),
        ),
        max_size=60,
    ),
    st.integers(0, 3),
    st.integers(0, 6),
)  # fmt: skip
def test_whatever_happens_it_stays_within_its_bounds_and_changes_once_a_cooldown(
    steps: list[tuple[float, int, int, float, float | None, int]], least: int, room: int
) -> None:
    sizing, now, size, changed_at = Sizing(SETTINGS), 0.0, least, -10.0
    for pause, needed, waiting, age, service_s, starting in steps:
        now += pause
        seen = Demand(size, min(starting, size), least, least + room, min(needed, size), waiting, age, 1, service_s)
        after = sizing.decide(seen, now)
        assert least <= after <= least + room
        if after != size:
            assert now - changed_at >= SETTINGS.scale_cooldown_s
            assert after > size or after >= min(needed, size)
            size, changed_at = after, now
