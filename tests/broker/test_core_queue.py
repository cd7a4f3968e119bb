"""The queue of a pool: its order, against a model that sorts; and what it costs when it is deep."""

from __future__ import annotations

import gc
import time
from typing import Any, cast

import pytest
from broker_peers import POOL, id128
from hypothesis import given
from hypothesis import strategies as st

from maitred.broker.core.effects import Peer, Side
from maitred.broker.core.model import Identity, Request
from maitred.broker.core.pool import Pool
from maitred.broker.core.queue import AGED_PART, AGEING_S, Queue
from maitred.broker.core.settings import ClientSettings, PoolSettings
from maitred.protocol.messages import HIGH, LOW, NORMAL

PEER = Peer(Side.CLIENTS, b"peer")
A_POOL = Pool(PoolSettings(POOL), 0.0)


def identity(client: int, weight: int = 1) -> Identity:
    return Identity(id128(client), "", ClientSettings(weight), 0.0)


def request(number: int, client: Identity, priority: int = NORMAL, came: float = 0.0) -> Request:
    made = Request((client.id, number), PEER, client, A_POOL, "echo", [b""], 0)
    made.admitted = number
    made.priority = priority
    made.received_at = came
    return made


def drained(queue: Queue) -> list[int]:
    order: list[int] = []
    while queue:
        first = queue.first()
        assert queue.pop() is first
        queue.check()
        order.append(first.admitted)
    return order


def test_clients_take_turns() -> None:
    queue, many, few = Queue(), identity(1), identity(2)
    for number in range(6):
        queue.push(request(number, many))
    for number in range(6, 8):
        queue.push(request(number, few))
    assert drained(queue) == [0, 6, 1, 7, 2, 3, 4, 5]


def test_a_weight_is_so_many_in_one_turn() -> None:
    queue, heavy, light = Queue(), identity(1, weight=3), identity(2)
    for number in range(6):
        queue.push(request(number, heavy))
    for number in range(6, 9):
        queue.push(request(number, light))
    assert drained(queue) == [0, 1, 2, 6, 3, 4, 5, 7, 8]


def test_a_turn_that_was_half_used_ends_with_its_client() -> None:
    queue, heavy, light = Queue(), identity(1, weight=3), identity(2, weight=2)
    held = [request(number, heavy) for number in range(2)]
    for one in held:
        queue.push(one)
    for number in range(2, 6):
        queue.push(request(number, light))
    assert queue.pop() is held[0]
    queue.remove(held[1])
    queue.check()
    queue.push(request(6, heavy))
    assert drained(queue) == [2, 3, 6, 4, 5]


def test_higher_priorities_come_first_and_what_waited_long_has_a_share() -> None:
    queue, one = Queue(), identity(1)
    for number in range(4):
        queue.push(request(number, one, LOW, came=0.0))
    for number in range(4, 12):
        queue.push(request(number, one, HIGH, came=2 * AGEING_S - 0.1))
    for number in range(12, 18):
        queue.push(request(number, one, HIGH, came=2 * AGEING_S + 0.1))
    order = drained(queue)
    assert order[:8] == list(range(4, 12))  # not long enough
    rest = order[8:]
    places = [n for n, number in enumerate(rest) if number < 4]
    assert places == [0 + AGED_PART - 1, 2 * AGED_PART - 1, 8, 9]
    assert [number for number in rest if number < 4] == list(range(4))


def test_what_is_given_back_stands_where_it_stood() -> None:
    queue, one = Queue(), identity(1)
    for number in range(4):
        queue.push(request(number, one))
    first, second = queue.pop(), queue.pop()
    queue.give_back(second)
    queue.give_back(first)
    assert drained(queue) == [0, 1, 2, 3]


def test_how_many_are_ahead_counts_turns_and_not_the_whole_line() -> None:
    queue, many, few = Queue(), identity(1), identity(2)
    for number in range(100):
        queue.push(request(number, many))
    assert queue.ahead_of(few.id, NORMAL) == 1
    assert queue.ahead_of(many.id, NORMAL) == 100
    assert queue.ahead_of(few.id, LOW) == 100
    assert queue.ahead_of(few.id, HIGH) == 0


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, 2), st.integers(0, 2)),
        st.tuples(st.sampled_from(["pop", "remove", "give back"]), st.integers(0, 20), st.just(0)),
    ),
    max_size=60,
)


@given(STEPS)
def test_any_order_of_calls_keeps_each_clients_order_and_serves_everybody_in_turn(steps: Any) -> None:
    """The model: by priority, then for each client a sorted list, and nobody is passed over more than once a round."""
    queue, clients = Queue(), [identity(n + 1) for n in range(3)]
    inside: dict[int, Request] = {}
    outside: list[Request] = []
    number = 0
    for step, first, second in steps:
        if step == "push":
            number += 1
            inside[number] = request(number, clients[first], second)
            queue.push(inside[number])
        elif step == "pop" and inside:
            taken = queue.pop()
            del inside[taken.admitted]
            outside.append(taken)
            same_line = [r for r in inside.values() if r.identity is taken.identity and r.priority == taken.priority]
            assert all(taken.admitted < other.admitted for other in same_line)
            assert all(taken.priority >= other.priority for other in inside.values())  # all came at the same time
        elif step == "remove" and inside:
            chosen = inside.pop(sorted(inside)[first % len(inside)])
            queue.remove(chosen)
            assert chosen not in queue
        elif step == "give back" and outside:
            back = outside.pop(first % len(outside))
            inside[back.admitted] = back
            queue.give_back(back)
        queue.check()
        assert len(queue) == len(inside)
    served: list[tuple[int, bytes]] = []
    waiting = {
        (r.priority, r.identity.id): sum((o.priority, o.key[0]) == (r.priority, r.key[0]) for o in inside.values())
        for r in inside.values()
    }
    while queue:
        taken = queue.pop()
        served.append((taken.priority, taken.identity.id))
    for (priority, client), count in waiting.items():
        band = [who for p, who in served if p == priority]
        for turn in range(count - 1):  # between two of its own, every other client is served at most once
            places = [n for n, who in enumerate(band) if who == client]
            between = band[places[turn] + 1 : places[turn + 1]]
            assert len(between) == len(set(between))


@pytest.mark.slow
def test_a_deep_queue_costs_what_a_shallow_one_does() -> None:
    """Put in, take out and remove at 100,000 against 100, in pairs within one run: the median ratio is below 1.3."""
    one = identity(1)
    requests = [request(number, one) for number in range(110_000)]
    numbers = iter(range(110_000, 10**9))

    def filled(depth: int) -> Queue:
        queue = Queue()
        for at in range(depth):
            queue.push(requests[at])
        return queue

    def cost(queue: Queue) -> float:
        fresh = [request(next(numbers), one) for _ in range(300)]
        began = time.perf_counter()
        for new in fresh:
            queue.push(new)
            queue.pop()
            queue.remove(new)
            queue.push(new)
        return time.perf_counter() - began

    shallow, deep = filled(400), filled(100_000)
    gc.disable()
    try:
        ratios = sorted(cost(deep) / cost(shallow := filled(400)) for _ in range(41))
    finally:
        gc.enable()
    assert cast("float", ratios[len(ratios) // 2]) <= 1.3, ratios
    assert len(shallow) == 400
