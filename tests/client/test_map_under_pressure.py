"""A map against a pool that says how full it is and keeps places: little is refused, it stays busy, nothing is lost."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maitred.client.calls import Backoff, Options
from maitred.client.errors import PoolSaturated
from maitred.client.mapping import Item, MapPlan
from maitred.protocol import messages as m
from maitred.protocol.body import decode_body, encode_body
from maitred.protocol.client import Failed, Replied

STEP_S = 0.001
"""One request is done in each."""


class Pool:
    """One worker, room for so many, a level that rises and falls as `docs/protocol.md` says, places if it keeps them."""

    def __init__(self, room: int, keeps_places: bool = True) -> None:
        self.room = room
        self.keeps_places = keeps_places
        self.inside: list[Item] = []
        self.kept: dict[int, float] = {}  # from when on
        self.level = m.LEVEL_OK
        self.refused = 0
        self.idle = 0
        self._tickets = count(1)

    def offer(self, item: Item, now: float) -> Failed | None:
        """Take it in, or refuse it."""
        assert item.call is not None
        kept = self.kept.pop(item.call.message(1, now).ticket, None)
        due = sum(at <= now for at in self.kept.values())
        if len(self.inside) < (self.room if kept is not None else self.room - due):
            self.inside.append(item)
            self._look()
            return None
        self.refused += 1
        self.level = m.LEVEL_FULL
        details: dict[str, Any] = {"retry_after": STEP_S * (len(self.kept) + 1)}
        if self.keeps_places:
            details["ticket"] = next(self._tickets)
            self.kept[details["ticket"]] = now + details["retry_after"]
        return Failed(1, PoolSaturated("full", **details), self.level)

    def done(self, now: float) -> tuple[Item, Replied] | None:
        """The one that is done, with its answer."""
        self.kept = {ticket: at for ticket, at in self.kept.items() if at + 10 * STEP_S > now}
        if not self.inside:
            self.idle += 1
            return None
        item = self.inside.pop(0)
        self._look()
        assert item.call is not None
        return item, Replied(1, encode_body(decode_body(item.call.body)["n"]), self.level)

    def _look(self) -> None:
        share = len(self.inside) / self.room
        if self.level == m.LEVEL_FULL and share < 0.9:
            self.level = m.LEVEL_HIGH
        if self.level == m.LEVEL_HIGH and share < 0.5:
            self.level = m.LEVEL_OK
        if self.level == m.LEVEL_OK and share >= 0.7:
            self.level = m.LEVEL_HIGH


def run(pool: Pool, items: int, window: int) -> list[int]:
    """Have a map do it all; returns its results. Refusals come when all that could be sent was."""
    options = Options(on_saturated="wait")
    plan = MapPlan("p", "c", ({"n": n} for n in range(items)), options, window, Backoff(lambda: 0.5))
    got: list[int] = []
    now, under_way = 0.0, 0
    while not plan.finished:
        sent = send(plan, now)
        under_way += len(sent)
        assert under_way <= window
        for item, refusal in [(item, pool.offer(item, now)) for item in sent]:
            if refusal is not None:
                under_way -= 1
                plan.arrived(item, refusal, now)
        now += STEP_S
        assert now < 10 * items * STEP_S + 1.0, "it hangs"
        answered = pool.done(now)
        if answered is not None:
            under_way -= 1
            plan.arrived(*answered, now)
        while plan.ready:
            got.append(plan.take())
    return got


@settings(deadline=None)
@given(st.integers(1, 80), st.integers(1, 40), st.booleans(), st.integers(1, 300))
def test_all_come_through_in_order_and_the_pool_stays_busy(
    room: int, window: int, keeps_places: bool, items: int
) -> None:
    pool = Pool(room, keeps_places)
    assert run(pool, items, window) == list(range(items))
    assert pool.idle <= items / 4 + 10
    assert pool.refused <= window + items


@pytest.mark.parametrize("room", [2, 5, 20])
def test_what_the_pool_says_of_itself_spares_refusals(room: int) -> None:
    pool = Pool(room)
    run(pool, 2000, 64)
    assert pool.idle <= 5
    assert pool.refused < 200


# --- step by step ---


def start(window: int = 10) -> tuple[MapPlan, list[Item]]:
    options = Options(on_saturated="wait")
    plan = MapPlan("p", "c", ({"n": n} for n in range(1000)), options, window, Backoff(lambda: 0.0))
    return plan, send(plan)


def send(plan: MapPlan, now: float = 0.0) -> list[Item]:
    sent: list[Item] = []
    while (item := plan.due(now)) is not None:
        item.under_way = item
        sent.append(item)
    return sent


def answer(plan: MapPlan, items: list[Item], level: int, now: float = 0.0) -> list[Item]:
    """Each is answered, and what is sent for it is too, later: returns what is under way then."""
    sent: list[Item] = []
    for item in items:
        plan.arrived(item, Replied(1, encode_body(0), level), now)
        while plan.ready:
            plan.take()
        sent += send(plan, now)
    return sent


def refusal(ticket: int, retry_after: float) -> Failed:
    return Failed(1, PoolSaturated("full", ticket=ticket, retry_after=retry_after), m.LEVEL_FULL)


def test_it_does_with_less_once_a_round_while_the_pool_is_full_and_never_without() -> None:
    plan, under_way = start(window=10)
    sizes = [len(under_way)]
    for second in range(10):
        for part in (0.0, 0.3, 0.6):  # rounds within a second are one reason
            under_way = answer(plan, under_way, m.LEVEL_FULL, second + part)
        sizes.append(len(under_way))
    assert sizes[:4] == [10, 8, 6, 5]
    assert sizes[-1] == 1


def test_a_round_that_takes_long_is_one_reason_too() -> None:
    plan, under_way = start(window=10)
    sent: list[Item] = []
    for second, item in enumerate(under_way):
        sent += answer(plan, [item], m.LEVEL_FULL, 10.0 * second)
    assert len(sent) == 8


def test_it_holds_while_the_level_is_high_and_grows_while_it_is_ok() -> None:
    plan, under_way = start(window=10)
    for second in range(3):
        under_way = answer(plan, under_way, m.LEVEL_FULL, float(second))
    before = len(under_way)
    for _ in range(5):
        under_way = answer(plan, under_way, m.LEVEL_HIGH, 5.0)
        assert len(under_way) == before
    sizes = list[int]()
    for _ in range(12):
        under_way = answer(plan, under_way, m.LEVEL_OK, 6.0)
        sizes.append(len(under_way))
    assert sizes[0] == before + 1
    assert sizes == sorted(sizes)
    assert sizes[-1] == 10


def test_places_are_used_when_they_are_due_whatever_is_under_way_the_first_item_first() -> None:
    plan, under_way = start(window=4)
    for item, ticket, retry_after in zip(under_way[1:], (11, 12, 13), (3.0, 1.0, 2.0), strict=True):
        plan.arrived(item, refusal(ticket, retry_after), 0.0)
    assert send(plan, 0.9) == []
    assert plan.wake_at == 1.0
    for now, ticket, item in ((1.0, 12, under_way[1]), (2.0, 13, under_way[2]), (3.0, 11, under_way[3])):
        (again,) = send(plan, now)
        assert again is item
        assert again.call is not None
        assert again.call.ticket == ticket


def test_a_freed_place_is_used_at_once_with_the_next_ticket() -> None:
    plan, under_way = start(window=4)
    for item, ticket in zip(under_way[1:], (11, 12, 13), strict=True):
        plan.arrived(item, refusal(ticket, float(ticket)), 0.0)
    (again,) = answer(plan, under_way[:1], m.LEVEL_HIGH, 0.5)
    assert again is under_way[1]
    assert again.call is not None
    assert again.call.ticket == 11
    assert plan.wake_at == 12.0


def test_places_of_items_that_were_given_up_are_forgotten() -> None:
    options = Options(timeout=2.0, on_saturated="wait")
    plan = MapPlan("p", "c", ({"n": n} for n in range(3)), options, 2, Backoff(lambda: 0.0))
    under_way = send(plan)
    for item in under_way:
        plan.arrived(item, refusal(item.number, 1.9), 0.0)
    assert send(plan, 2.5) == []
    for _ in under_way:
        with pytest.raises(PoolSaturated):
            plan.take()
    (third,) = send(plan, 2.5)
    assert third.call is not None
    assert third.call.ticket == 0


def test_a_place_that_was_kept_is_the_map_s_own_from_then_on() -> None:
    plan, under_way = start(window=4)
    for item, ticket in zip(under_way, (11, 12, 13, 14), strict=True):
        plan.arrived(item, refusal(ticket, float(ticket)), 0.0)
    under_way = send(plan, 11.0)
    assert len(under_way) == 1
    (again,) = answer(plan, under_way, m.LEVEL_HIGH, 11.5)  # long before the next one is due
    assert again.call is not None
    assert again.call.ticket == 12
