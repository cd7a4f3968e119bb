"""Who there is to be: sizes, spares, turns, back-off, budget. Time is an argument; nobody is started."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from maitred.worker.agent_settings import AgentSettings
from maitred.worker.backoff import STEADY_S
from maitred.worker.fleet import Fleet
from maitred.worker.roster import Effect, End, Kill, LetThrough, Retire, Start, Tell


def ids() -> Iterator[bytes]:
    number = 0
    while True:
        number += 1
        yield number.to_bytes(16)


class Yard:
    """A fleet, and a world in which every process does what the test says."""

    def __init__(self, size: int, **settings: Any) -> None:
        counter = ids()
        self.it = Fleet(
            AgentSettings("general", "app:service", "tcp://x", size, **settings), new_id=lambda: next(counter)
        )
        self.now = 0.0

    def step(self, after: float = 0.0) -> list[Effect]:
        self.now += after
        return self.it.step(self.now)

    def started(self, after: float = 0.0, *, spare: bool = False) -> list[bytes]:
        """Let it decide; returns who was started, and they are nothing but started."""
        effects = self.step(after)
        assert all(isinstance(effect, Start) and effect.spare == spare for effect in effects), effects
        workers = [effect.worker for effect in effects if isinstance(effect, Start)]
        for worker in workers:
            self.it.spawned(worker, self.now)
        return workers

    def see(self, *workers: bytes, loaded: bool = True, ready: bool = True, served: int = 0) -> None:
        for worker in workers:
            self.it.see(worker, self.now, loaded=loaded, ready=ready, served=served)

    def ready(self, size: int) -> list[bytes]:
        workers = self.started()
        assert len(workers) == size
        self.see(*workers)
        assert self.step() == []
        return workers

    def die(self, worker: bytes, reason: str = "it broke", *, ordered: bool = False) -> None:
        self.it.died(worker, self.now, reason, ordered=ordered)


def test_it_fills_its_places_and_is_content() -> None:
    yard = Yard(3)
    yard.ready(3)
    assert yard.it.next_deadline(yard.now) == float("inf")


def test_a_worker_that_served_is_replaced_at_once() -> None:
    yard = Yard(2)
    one, _ = yard.ready(2)
    yard.see(one, served=1)
    yard.die(one)
    assert len(yard.started()) == 1


class TestSize:
    def test_more(self) -> None:
        yard = Yard(1)
        yard.ready(1)
        yard.it.resize(3)
        assert len(yard.started()) == 2

    def test_fewer_ends_those_that_are_starting_the_newest_first(self) -> None:
        yard = Yard(1)
        yard.ready(1)
        yard.it.resize(4)
        _, second, third = yard.started()
        yard.it.resize(2)
        assert yard.step() == [End(third, "drain"), End(second, "drain")]
        yard.die(third)
        yard.die(second)
        assert yard.step() == []

    def test_fewer_waits_until_the_broker_names_one_that_is_ready(self) -> None:
        yard = Yard(2)
        one, other = yard.ready(2)
        yard.it.resize(1)
        assert yard.step() == []
        yard.it.dismiss(one, "drain")
        assert yard.step() == [End(one, "drain")]
        yard.die(one)
        assert yard.step() == []
        yard.see(other, served=1)
        yard.die(other)
        assert len(yard.started()) == 1

    def test_a_dismissal_without_another_size_leaves_a_place_to_fill(self) -> None:
        yard = Yard(1)
        (worker,) = yard.ready(1)
        yard.it.dismiss(worker, "operator")
        assert yard.step() == [End(worker, "operator")]
        yard.die(worker)
        assert len(yard.started()) == 1

    def test_who_dies_while_one_is_too_many_is_not_replaced(self) -> None:
        yard = Yard(2)
        one, other = yard.ready(2)
        yard.it.resize(1)
        yard.die(one)
        assert yard.step() == []
        yard.it.dismiss(other, "drain")  # named before the broker knew
        assert yard.step() == [End(other, "drain")]
        yard.die(other)
        assert len(yard.started()) == 1

    def test_none_at_all_and_back(self) -> None:
        yard = Yard(1)
        (worker,) = yard.ready(1)
        yard.it.resize(0)
        yard.it.dismiss(worker, "drain")
        yard.step()
        yard.die(worker)
        assert yard.step() == []
        yard.it.resize(2)
        assert len(yard.started()) == 2


class TestTurns:
    def test_another_one_is_ready_before_the_old_one_retires(self) -> None:
        yard = Yard(1)
        (old,) = yard.ready(1)
        yard.it.recycle([old], "recycle", "too old")
        (new,) = yard.started()
        assert yard.step(1) == []
        yard.see(new)
        assert yard.step() == [Retire(old, "recycle", "too old")]
        yard.it.dismiss(old, "recycle")
        assert yard.step() == [End(old, "recycle")]
        yard.die(old)
        assert yard.step(60) == []

    def test_one_after_another(self) -> None:
        yard = Yard(3)
        pool = yard.ready(3)
        yard.it.recycle(pool, "operator")
        gone: list[bytes] = []
        for old in pool:
            (new,) = yard.started()
            yard.see(new)
            assert yard.step() == [Retire(old, "operator", "")]
            assert yard.step(10) == []
            yard.it.dismiss(old, "operator")
            assert yard.step() == [End(old, "operator")]
            yard.die(old)
            gone.append(old)
        assert yard.step(60) == []

    def test_asked_for_twice_it_is_done_once(self) -> None:
        yard = Yard(1)
        (old,) = yard.ready(1)
        yard.it.recycle([old, old], "operator")
        yard.it.recycle([old], "recycle")
        (new,) = yard.started()
        yard.see(new)
        yard.step()
        yard.die(old)
        assert yard.step() == []

    def test_a_replacement_that_dies_leaves_the_old_one_and_is_tried_again_later_and_later(self) -> None:
        yard = Yard(1, restart_backoff_s=1.0)
        (old,) = yard.ready(1)
        yard.it.recycle([old], "recycle")
        for pause in (1.0, 2.0):
            (new,) = yard.started()
            yard.die(new)
            assert yard.step() == []
            assert yard.step(pause - 0.1) == []
            yard.now += 0.2
        (new,) = yard.started()
        yard.see(new)
        assert yard.step() == [Retire(old, "recycle", "")]

    def test_a_replacement_that_does_not_load_is_killed(self) -> None:
        yard = Yard(1, startup_timeout_s=5)
        (old,) = yard.ready(1)
        yard.it.recycle([old], "recycle")
        (new,) = yard.started()
        assert yard.step(4.9) == []
        assert yard.step(0.2) == [Kill(new)]

    def test_one_that_dies_before_its_successor_is_ready_is_succeeded_by_it(self) -> None:
        yard = Yard(1)
        (old,) = yard.ready(1)
        yard.it.recycle([old], "recycle")
        (new,) = yard.started()
        yard.die(old)
        assert yard.step() == []
        yard.see(new, served=1)
        yard.die(new)
        assert len(yard.started()) == 1

    def test_a_pool_that_shrinks_meanwhile_ends_the_successor(self) -> None:
        yard = Yard(1)
        (old,) = yard.ready(1)
        yard.it.recycle([old], "recycle")
        (new,) = yard.started()
        yard.it.resize(0)
        yard.it.dismiss(old, "drain")
        effects = yard.step()
        assert End(old, "drain") in effects
        assert End(new, "drain") in effects

    def test_without_surge_the_old_one_goes_first(self) -> None:
        yard = Yard(1)
        (old,) = yard.ready(1)
        yard.it.recycle([old], "recycle", "full", surge=False)
        assert yard.step() == [Retire(old, "recycle", "full")]
        yard.it.dismiss(old, "recycle")
        assert yard.step() == [End(old, "recycle")]
        yard.die(old)
        assert len(yard.started()) == 1

    def test_who_is_replaced_for_new_code_and_who_is_started_anew(self) -> None:
        yard = Yard(2, warm_spares=1)
        effects = yard.step()
        one, starting, spare = (effect.worker for effect in effects if isinstance(effect, Start))
        for worker in (one, starting, spare):
            yard.it.spawned(worker, 0.0)
        yard.see(one)
        yard.it.discard_unready("operator")
        assert yard.step() == [End(starting, "operator"), End(spare, "operator")]


class TestSpares:
    def test_one_waits_and_is_let_through_when_a_worker_dies(self) -> None:
        yard = Yard(1, warm_spares=1)
        worker, spare = (effect.worker for effect in yard.step() if isinstance(effect, Start))
        for each in (worker, spare):
            yard.it.spawned(each, yard.now)
        yard.see(worker, served=1)
        yard.see(spare, ready=False)
        yard.die(worker)
        effects = yard.step()
        assert effects[0] == LetThrough(spare)
        assert isinstance(effects[1], Start)
        assert effects[1].spare

    def test_one_that_has_not_loaded_is_of_no_use_yet(self) -> None:
        yard = Yard(1, warm_spares=1)
        worker, spare = (effect.worker for effect in yard.step() if isinstance(effect, Start))
        for each in (worker, spare):
            yard.it.spawned(each, yard.now)
        yard.see(worker, served=1)
        yard.see(spare, loaded=False, ready=False)
        yard.die(worker)
        (start,) = yard.step()
        assert isinstance(start, Start)
        assert not start.spare

    def test_a_replacement_is_a_spare_one_where_there_is_one(self) -> None:
        yard = Yard(1, warm_spares=1)
        worker, spare = (effect.worker for effect in yard.step() if isinstance(effect, Start))
        for each in (worker, spare):
            yard.it.spawned(each, yard.now)
        yard.see(worker)
        yard.see(spare, ready=False)
        yard.it.recycle([worker], "recycle")
        assert yard.step()[0] == LetThrough(spare)
        yard.see(spare)
        assert yard.step() == [Retire(worker, "recycle", "")]

    def test_it_keeps_none_busy_looking_at_it(self) -> None:
        yard = Yard(0, warm_spares=1)
        (spare,) = yard.started(spare=True)
        yard.see(spare, ready=False)
        yard.step()
        assert yard.it.next_deadline(yard.now) == float("inf")


class TestCrashLoops:
    def crash(self, yard: Yard, times: int) -> list[Effect]:
        """So many deaths before any readiness, each as soon as it may be; returns what was told."""
        told: list[Effect] = []
        while times > 0:
            effects = yard.step()
            told += [effect for effect in effects if isinstance(effect, Tell)]
            for effect in effects:
                if isinstance(effect, Start):
                    yard.it.spawned(effect.worker, yard.now)
                    yard.die(effect.worker)
                    times -= 1
            yard.now = min(yard.it.next_deadline(yard.now), yard.now + 1)
        return told

    def test_three_in_a_row_before_readiness_are_told_and_so_is_their_end(self) -> None:
        yard = Yard(1, restart_backoff_s=0.1)
        self.crash(yard, 3)
        told, start = yard.step()
        assert told == Tell("workers die before they are ready: it broke")
        assert isinstance(start, Start)
        yard.see(start.worker)
        assert yard.step() == [Tell("")]

    def spent(self, budget: int = 5) -> Yard:
        """A pool of three that has spent its budget; it was told so."""
        yard = Yard(3, restart_budget=budget, restart_backoff_s=0.01, restart_backoff_max_s=20.0)
        self.crash(yard, budget)
        told = [effect for effect in yard.step() if isinstance(effect, Tell)]
        assert not told or told == [Tell(f"{budget} workers died within 60 s, the last one of: it broke")]
        return yard

    def test_a_spent_budget_leaves_one_start_at_a_time_at_the_longest_pause(self) -> None:
        yard = self.spent()
        yard.now += 20
        starts = yard.started()
        assert len(starts) == 1
        assert yard.started(30) == []  # the first has not said yet whether it works
        yard.die(starts[0])
        assert len(yard.started(20)) == 1

    def test_one_that_serves_ends_it(self) -> None:
        yard = self.spent()
        (worker,) = yard.started(20)
        yard.see(worker)
        assert yard.step() == []
        yard.see(worker, served=1)
        effects = yard.step()
        assert effects[0] == Tell("")
        assert len(effects) == 3  # and the two others are started

    def test_so_does_one_that_stays_ready(self) -> None:
        yard = self.spent()
        (worker,) = yard.started(20)
        yard.see(worker)
        effects = yard.step(STEADY_S)
        assert effects[0] == Tell("")

    def test_so_does_the_size_it_has_already(self) -> None:
        yard = self.spent()
        yard.it.resize(3)
        assert [type(effect) for effect in yard.step()] == [Tell, Start, Start, Start]

    def test_another_size_does_not(self) -> None:
        yard = self.spent()
        yard.it.resize(8)
        assert yard.step() == []

    @pytest.mark.parametrize("ordered", [True, False])
    def test_what_was_ordered_or_served_does_not_count(self, ordered: bool) -> None:
        yard = Yard(1, restart_budget=2)
        for _ in range(10):
            (worker,) = yard.started()
            yard.see(worker, served=0 if ordered else 1)
            yard.die(worker, ordered=ordered)
        assert len(yard.started()) == 1

    def test_deaths_outside_the_window_do_not_count(self) -> None:
        yard = Yard(1, restart_budget=3, restart_window_s=10.0, restart_backoff_s=0.1, restart_backoff_max_s=0.1)
        for _ in range(9):
            (worker,) = yard.started(5.1)
            yard.see(worker)
            yard.step()
            yard.die(worker)
        assert len(yard.started(5)) == 1

    def test_its_workers_in_service_are_left_alone(self) -> None:
        yard = self.spent()
        (worker,) = yard.started(20)
        yard.see(worker)
        yard.it.recycle([worker], "recycle")
        assert yard.step() == []


def test_it_never_spins() -> None:
    """Whatever state it is in, the next look is some time away."""
    yard = TestCrashLoops().spent()
    for _ in range(50):
        assert yard.it.next_deadline(yard.now) >= yard.now + 0.01
        for effect in yard.step(0.5):
            if isinstance(effect, Start):
                yard.it.spawned(effect.worker, yard.now)
