"""Lanes: of each session one thing at a time and in order, nobody held up, nothing lost, whatever comes when."""

from __future__ import annotations

from collections import deque
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from maitred.worker.lanes import Lane, Lanes, Waiting

SESSIONS = [bytes([n]) for n in range(4)]


class Line(RuleBasedStateMachine):
    """A loop's line of lanes, and what a session may expect of it."""

    def __init__(self) -> None:
        super().__init__()
        self.lanes = Lanes()
        self.line: deque[Lane] = deque()
        self.running: list[tuple[Lane, Any]] = []
        self.expected: dict[bytes, list[int]] = {session: [] for session in SESSIONS}
        self.done: dict[bytes, list[int]] = {session: [] for session in SESSIONS}
        self.number = 0
        self.taken: list[int] = []

    @rule(session=st.sampled_from(SESSIONS), as_request=st.booleans())
    def comes(self, session: bytes, as_request: bool) -> None:
        self.number += 1
        number = self.number
        self.expected[session].append(number)

        def take(group: Any) -> Any:
            self.taken.append(number)
            return [number]

        async def work() -> int:
            return number

        lane = self.lanes.add(session, Waiting([], take) if as_request else work)
        if lane is not None:
            self.line.append(lane)

    @rule()
    def begins(self) -> None:
        if self.line:
            lane = self.line.popleft()
            assert all(lane is not other for other, _ in self.running), "one at a time"
            self.running.append((lane, lane.work.popleft()))

    @rule(index=st.integers(0, 3))
    def ends(self, index: int) -> None:
        if index < len(self.running):
            lane, work = self.running.pop(index)
            self.done[lane.session].append(number_of(work))
            if self.lanes.ran(lane):
                self.line.append(lane)

    @rule()
    def holds(self) -> None:
        self.lanes.hold()
        waiting = [work for lane in self.line for work in lane.work if isinstance(work, Waiting)]
        assert all(number_of(work) in self.taken for work in waiting)

    @invariant()
    def order_is_kept(self) -> None:
        for session in SESSIONS:
            assert self.done[session] == self.expected[session][: len(self.done[session])]
        assert len(self.taken) == len(set(self.taken)), "each is taken once"

    def teardown(self) -> None:
        while self.line or self.running:
            self.begins()
            self.ends(0)
        assert self.done == self.expected
        assert not self.lanes.sessions()


def number_of(work: Any) -> int:
    if isinstance(work, Waiting):
        return work.take()[0]  # type: ignore[return-value]
    coroutine = work()
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError


Line.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestLine = Line.TestCase
