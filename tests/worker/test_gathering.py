"""Which DISPATCHes are one batch."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from maitred.protocol.messages import Dispatch
from maitred.worker import Service
from maitred.worker.gathering import Gathering

service = Service()


@service.command(batch=4)
def embed(text: list[str]) -> list[int]:
    return [len(each) for each in text]


@service.command(batch=4)
def rank(text: list[str]) -> list[int]:
    return [len(each) for each in text]


@service.command
def echo(text: str) -> str:
    return text


def an_order(number: int, command: str = "embed", more: int = 0) -> Dispatch:
    return Dispatch(bytes(16), number, 1, command, 30.0, more=more)


def ids(*orders: Dispatch) -> tuple[list[list[int]], list[list[int]]]:
    """The groups that come out, and what is left."""
    gathering = Gathering(service.commands)
    groups = [group for order in orders for group in gathering.add(order, [b""], 1.0)]
    return [[order.id for order, _, _ in group] for group in groups], [
        [order.id for order, _, _ in group] for group in gathering.rest()
    ]


def test_a_batch_is_complete_with_its_last() -> None:
    assert ids(an_order(1, more=2), an_order(2, more=1)) == ([], [[1, 2]])
    assert ids(an_order(1, more=2), an_order(2, more=1), an_order(3)) == ([[1, 2, 3]], [])


def test_one_by_itself_is_a_group_at_once() -> None:
    assert ids(an_order(1), an_order(2, "echo"), an_order(3, "unknown")) == ([[1], [2], [3]], [])


def test_what_does_not_go_on_with_it_ends_it() -> None:
    assert ids(an_order(1, more=3), an_order(2, "echo")) == ([[1], [2]], [])
    assert ids(an_order(1, more=3), an_order(2, "rank", more=1), an_order(3, "rank")) == ([[1], [2, 3]], [])
    assert ids(an_order(1, more=3), an_order(2, more=3), an_order(3, more=2)) == ([[1]], [[2, 3]])


def test_no_call_is_larger_than_its_command_said() -> None:
    assert ids(*(an_order(n, more=9 - n) for n in range(10))) == ([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]], [])


def test_a_command_that_takes_no_batches_has_one_call_each() -> None:
    assert ids(an_order(1, "echo", more=1), an_order(2, "echo")) == ([[1], [2]], [])
    assert ids(an_order(1, "unknown", more=1), an_order(2, "unknown")) == ([[1], [2]], [])


orders = st.lists(st.tuples(st.sampled_from(["embed", "rank", "echo", "unknown"]), st.integers(0, 6)), max_size=30)


@given(orders)
def test_whatever_comes_each_is_run_once_in_order_and_with_its_own_kind(sent: list[tuple[str, int]]) -> None:
    dispatched = [an_order(number, command, more) for number, (command, more) in enumerate(sent)]
    groups, rest = ids(*dispatched)
    groups += rest
    assert [number for group in groups for number in group] == list(range(len(sent)))
    for group in groups:
        commands = {sent[number][0] for number in group}
        assert len(commands) == 1
        assert len(group) <= (4 if commands <= {"embed", "rank"} else 1)
    assert len(rest) <= 1
