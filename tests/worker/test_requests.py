"""One request from the order on: its time, and which of them an exception can be raised in."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from maitred.protocol.messages import Dispatch
from maitred.worker import Service
from maitred.worker.gathering import Arrived
from maitred.worker.options import WorkerOptions
from maitred.worker.requests import Requests
from maitred.worker.running import Run

service = Service()


@service.command
def plain() -> None: ...


@service.command
async def awaited() -> None: ...


@service.command(batch=4)
def batched(text: list[str]) -> list[str]:
    return text


@pytest.fixture
def requests() -> Iterator[Requests]:
    requests = Requests(WorkerOptions("general", "-", (), "-", os.urandom(16)), service)
    yield requests
    requests.page.close()


def arrived(number: int = 1, command: str = "plain", *, ago_s: float = 0.0, **more: Any) -> Arrived:
    order = Dispatch(bytes(16), number, 1, command, **({"timeout": 30.0} | more))
    return order, [b"\x80"], time.monotonic() - ago_s


def take(requests: Requests, it: Arrived) -> Run:
    ((run, _),) = requests.take_all([it])
    return run


def test_its_time_counts_from_arrival_and_not_from_its_turn(requests: Requests) -> None:
    run = take(requests, arrived(timeout=5.0, ago_s=4.0))
    assert 0 < (run.context.remaining or 0) <= 1.0
    late = take(requests, arrived(2, timeout=5.0, ago_s=6.0))
    assert late.context.cancel_reason == "deadline"


def test_a_time_of_this_clock_is_taken_as_it_is(requests: Requests) -> None:
    due = time.monotonic() + 3.0
    run = take(requests, arrived(timeout=30.0, due=due, ago_s=1.0))
    assert run.context.deadline == due


@pytest.mark.parametrize(
    ("command", "in_threads", "interruptible"),
    [("plain", False, True), ("plain", True, False), ("awaited", False, False), ("unknown", False, True)],
)
def test_an_exception_is_raised_only_in_functions_of_the_main_thread(
    requests: Requests, command: str, in_threads: bool, interruptible: bool
) -> None:
    requests.in_threads = in_threads
    run = take(requests, arrived(command=command))
    assert run.interruptible == interruptible


def test_what_was_recalled_is_not_among_those_taken(requests: Requests) -> None:
    requests.running.recall((bytes(16), 2), 1, lambda: None)
    taken = requests.take_all([arrived(number, "batched") for number in (1, 2, 3)])
    assert [run.order.id for run, _ in taken] == [1, 3]
    assert requests.batched(taken) is service.commands["batched"]


def test_a_command_without_batches_has_one_call_each(requests: Requests) -> None:
    for command in ("plain", "unknown"):
        assert requests.batched(requests.take_all([arrived(command=command)])) is None
    assert requests.batched([]) is None


def test_what_is_begun_is_on_the_page_until_it_is_answered(requests: Requests) -> None:
    run = take(requests, arrived(7))
    requests.begin(run)
    assert [started.id for started in requests.page.running()] == [7]
    requests.end(run)
    assert requests.page.running() == []
    assert run.ended
