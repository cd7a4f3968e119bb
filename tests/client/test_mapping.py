"""The plan of a map: window, order, restraint. Time is a number, the pool a few lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from maitred.client.calls import Backoff, Options
from maitred.client.errors import EncodeError, PoolSaturated, UnknownCommand
from maitred.client.mapping import NOT_YET, Item, MapPlan
from maitred.protocol.body import decode_body, encode_body
from maitred.protocol.client import Failed, Replied

WAIT = Options(on_saturated="wait")


def numbers(count: int) -> Iterator[dict[str, int]]:
    return ({"n": n} for n in range(count))


def plan(items: Any, options: Options = WAIT, window: int = 4) -> MapPlan:
    return MapPlan("p", "c", items, options, window, Backoff(lambda: 0.0))


def send(it: MapPlan, now: float = 0.0) -> list[Item]:
    sent: list[Item] = []
    while (item := it.due(now)) is not None:
        item.under_way = item.number
        sent.append(item)
    return sent


def echo(item: Item) -> Replied:
    assert item.call is not None
    return Replied(1, encode_body(decode_body(item.call.body)["n"]))


def full(retry_after: float | None = None) -> Failed:
    return Failed(1, PoolSaturated("full", **({} if retry_after is None else {"retry_after": retry_after})))


def test_a_window_of_items_is_taken_and_results_keep_their_order() -> None:
    taken: list[int] = []
    it = plan(taken.append(n) or {"n": n} for n in range(9))
    first = send(it)
    assert taken == [0, 1, 2, 3]
    for item in (first[2], first[1]):
        it.arrived(item, echo(item), 0.0)
    assert not it.ready
    assert send(it) == []  # two are done, but none was yielded: the window is full
    it.arrived(first[0], echo(first[0]), 0.0)
    assert [it.take(), it.take(), it.take()] == [0, 1, 2]
    assert not it.ready
    assert len(send(it)) == 3
    assert taken == list(range(7))


def test_a_source_that_has_nothing_yet_is_asked_again_at_once_and_holds_no_result_back() -> None:
    it = plan(iter([{"n": 1}, NOT_YET, {"n": 2}, NOT_YET]))
    (first,) = send(it)
    assert (it.wake_at, it.finished) == (0.0, False)
    it.arrived(first, echo(first), 0.0)
    assert it.take() == 1
    (second,) = send(it)
    it.arrived(second, echo(second), 0.0)
    assert it.take() == 2
    assert send(it) == []
    assert it.finished


def test_it_finishes() -> None:
    it = plan(numbers(1))
    (item,) = send(it)
    assert not it.finished
    it.arrived(item, echo(item), 0.0)
    assert it.take() == 0
    assert it.finished
    assert send(plan([])) == []


def test_refusals_show_what_fits_and_nothing_more_is_sent_before_the_pause_is_over() -> None:
    it = plan(numbers(8))
    first = send(it)
    for item in first[2:]:
        it.arrived(item, full(retry_after=10.0), 0.0)
    assert send(it, 5.0) == []
    it.arrived(first[0], echo(first[0]), 5.0)
    (again,) = send(it, 5.0)  # in the place that became free
    assert again is first[2]
    assert it.wake_at == 10.0
    assert send(it, 9.0) == []
    for item in (first[1], again):
        it.arrived(item, echo(item), 9.5)
    assert [it.take() for _ in range(3)] == [0, 1, 2]
    assert [item.number for item in send(it, 9.5)] == [4, 5]


def test_when_nothing_fits_one_is_tried_after_the_pause() -> None:
    it = plan(numbers(8))
    for item in send(it):
        it.arrived(item, full(), 0.0)
    assert it.wake_at == pytest.approx(0.02)  # many refused at once: one pause
    assert send(it, 0.01) == []
    (item,) = send(it, 0.02)
    assert item.number == 1
    it.arrived(item, full(), 0.02)
    assert it.wake_at == pytest.approx(0.06)


def test_an_item_that_never_gets_in_is_given_up_at_its_deadline() -> None:
    it = plan(numbers(2), Options(timeout=1.0, on_saturated="wait"), window=1)
    (item,) = send(it)
    it.arrived(item, full(retry_after=0.5), 0.0)
    assert not it.ready
    (item,) = send(it, 0.6)
    it.arrived(item, full(retry_after=0.5), 0.6)
    assert it.ready
    with pytest.raises(PoolSaturated):
        it.take()


def test_with_raise_the_first_refusal_is_the_result() -> None:
    it = plan(numbers(2), Options())
    first, second = send(it)
    it.arrived(second, full(), 0.0)
    it.arrived(first, echo(first), 0.0)
    assert it.take() == 0
    with pytest.raises(PoolSaturated):
        it.take()


def test_what_is_wrong_with_an_item_is_raised_in_its_place() -> None:
    def broken() -> Iterator[dict[str, Any]]:
        yield {"n": 0}
        raise LookupError("no more")

    for items, kind in (([{"n": 0}, {"n": object()}, {"n": 2}], EncodeError), (broken(), LookupError)):
        it = plan(items)
        (item,) = send(it)
        it.arrived(item, echo(item), 0.0)
        assert it.take() == 0
        assert it.ready
        with pytest.raises(kind):
            it.take()


def test_closing_gives_what_is_under_way() -> None:
    it = plan(numbers(9))
    first = send(it)
    it.arrived(first[0], echo(first[0]), 0.0)
    it.arrived(first[1], full(), 0.0)
    assert it.close() == [3, 4]
    assert it.finished
    assert it.due(100.0) is None


def test_nothing_is_consumed_before_the_options_are_checked() -> None:
    for options, window in ((Options(timeout=-1), 4), (WAIT, 0), (WAIT, True)):
        with pytest.raises(ValueError, match="accepted"):
            plan(numbers(1), options, window)


@pytest.mark.parametrize("room", [1, 3, 7])
def test_a_pool_of_any_size_is_kept_busy_and_all_come_through_in_order(room: int) -> None:
    it = plan(numbers(200), window=16)
    inside: list[Item] = []
    got: list[int] = []
    now, refused = 0.0, 0
    while not it.finished:
        for item in send(it, now):
            if len(inside) < room:
                inside.append(item)
            else:
                refused += 1
                it.arrived(item, full(), now)
        if inside:  # one is done each millisecond
            item = inside.pop(0)
            it.arrived(item, echo(item), now)
        now += 0.001
        while it.ready:
            got.append(it.take())
    assert got == list(range(200))
    assert now < 0.200 * 1.5
    assert refused < 100


def test_an_error_of_the_pool_is_raised_in_its_place() -> None:
    it = plan(numbers(2))
    first, second = send(it)
    it.arrived(second, Failed(1, UnknownCommand("no")), 0.0)
    assert not it.ready
    it.arrived(first, echo(first), 0.0)
    assert it.take() == 0
    with pytest.raises(UnknownCommand):
        it.take()
