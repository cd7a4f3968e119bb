"""The driver of connections whose answers bear numbers, against one that answers at once, late, twice or never."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable
from typing import Any

import pytest

from maitred.benchmarks.method.load import Load
from maitred.benchmarks.method.numbered import drive_numbered


class Mirror:
    """Answers each request; `copies` times."""

    def __init__(self, copies: int = 1, first: int = 1) -> None:
        self.numbers = itertools.count(first)
        self.waiting: deque[int] = deque()
        self.copies = copies
        self.most = self.sent = 0

    def send(self, payload: Any, task_s: float) -> int:
        number = next(self.numbers)
        self.sent += 1
        self.waiting.extend([number] * self.copies)
        self.most = max(self.most, len(self.waiting))
        return number

    def receive(self, wait_s: float) -> Iterable[int]:
        return [self.waiting.popleft()] if self.waiting else []


@pytest.mark.parametrize("outstanding", [1, 3])
def test_as_many_are_under_way_as_there_is_room_for(outstanding: int) -> None:
    mirror = Mirror()
    flow = drive_numbered(mirror, Load(requests=10, outstanding=outstanding))
    assert len(flow.latency) == mirror.sent == 10
    assert mirror.most == outstanding


def test_a_second_answer_is_none() -> None:
    flow = drive_numbered(Mirror(copies=2), Load(requests=10, outstanding=2))
    assert len(flow.latency) == 10


def test_an_open_loop_sends_when_due() -> None:
    flow = drive_numbered(Mirror(), Load(requests=20, rate_per_s=2000, spacing="constant", outstanding=4))
    assert len(flow.latency) == len(flow.lag) == 20
    assert flow.took_s >= 19 / 2000


def test_what_is_never_answered_has_failed() -> None:
    flow = drive_numbered(Mirror(copies=0), Load(requests=5, outstanding=3, timeout_s=0.01))
    assert {name: len(times) for name, times in flow.failed.items()} == {"TimeoutError": 3}
    assert not flow.latency
