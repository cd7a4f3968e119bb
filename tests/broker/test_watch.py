"""What is done where memory runs out: nothing new is taken on, who is to blame is cut off, an endpoint is opened anew."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from broker_peers import Bench

from maitred.broker import watch as watch_module
from maitred.broker.core.effects import Note
from maitred.broker.room import Room
from maitred.broker.watch import Watch

LIMIT = 1000
PATIENCE_S = 5.0


class One:
    """A connection that receives what the test says."""

    def __init__(self, descriptor: int, counted: bool = True) -> None:
        self.descriptor = self.number = descriptor
        self.address = "10.0.0.1" if counted else "localhost"
        self.counted = counted
        self.came, self.grows, self.was_cut = 0, 0, False

    def received(self) -> int:
        self.came += self.grows
        return self.came

    def cut(self) -> bool:
        self.was_cut, self.grows = True, 0
        return True


class Side:
    def __init__(self, *all_: One) -> None:
        self.all = list(all_)

    def __len__(self) -> int:
        return len(self.all)

    def __iter__(self) -> Iterator[One]:
        return iter(self.all)

    def addresses(self) -> dict[str, int]:
        return {}

    def read(self) -> None: ...

    def audit(self, most: int) -> None: ...


class House:
    """A watch over fakes: the memory is what the test says."""

    def __init__(self, *connections: One) -> None:
        self.bench = Bench()
        self.side: Any = Side(*connections)
        self.memory = self.known = 0
        self.looked = trio.Event()
        self.whole: Callable[[int], object] | None = None
        self.reopened: list[str] = []
        self.frees_when_reopened = ""
        self.frees: Callable[[], bool] = lambda: any(one.was_cut for one in self.side)
        endpoints = [("clients", "tcp"), ("clients", "ipc"), ("workers", "ipc2")]
        self.watch = Watch(
            self.bench.core, self.bench.perform, [self.side], Room([self.side], 100, 100), LIMIT, lambda: self.known,
            self._on_scarce, endpoints, self._reopen, self._memory,
        )  # fmt: skip

    def events(self, name: str) -> list[dict[str, Any]]:
        return [note.fields for note in self.bench.events(name)]

    def _on_scarce(self, whole: Callable[[int], object] | None) -> None:
        self.whole = whole

    async def _reopen(self, side: str, endpoint: str) -> None:
        self.reopened.append(endpoint)
        if endpoint == self.frees_when_reopened:
            self.memory = 0

    def _memory(self) -> int:
        self.looked.set()
        if self.frees():
            self.memory = 0
        return self.memory

    async def look(self, times: int = 1) -> None:
        with trio.fail_after(PATIENCE_S):
            for _ in range(times + 1):
                self.looked = trio.Event()
                await self.looked.wait()


@asynccontextmanager
async def watched(monkeypatch: pytest.MonkeyPatch, *connections: One) -> AsyncIterator[House]:
    monkeypatch.setattr(watch_module, "LOOK_S", 0.002)
    monkeypatch.setattr(watch_module, "SHARE_OF_TIME", 1e9)
    house = House(*connections)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.watch.run)
        yield house
        nursery.cancel_scope.cancel()


async def test_nothing_new_is_taken_on_from_80_percent_until_below_75(monkeypatch: pytest.MonkeyPatch) -> None:
    async with watched(monkeypatch) as house:
        for memory, squeezed in ((799, False), (800, True), (760, True), (749, False), (799, False)):
            house.memory = memory
            await house.look()
            assert house.bench.core.state.squeezed is squeezed
            assert (house.whole is not None) is squeezed
        assert [one["over"] for one in house.events("memory.high")] == [False, True]
        limits = house.bench.core.table("broker", 0.0)["limits"]
        assert limits["memory"] == 799
        assert limits["memory_limit"] == LIMIT
        assert limits["descriptors"] > 0


async def test_who_sends_without_end_is_cut_off_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad, idle = One(1), One(2), One(3)
    good.grows, bad.grows = 1 << 22, 1 << 21
    async with watched(monkeypatch, good, bad, idle) as house:
        house.memory = 850
        await house.look()
        for _ in range(8):  # for less than three seconds
            assert house.whole is not None
            house.whole(good.descriptor)  # more than the other sends, and in whole messages
            await house.look()
        assert not bad.was_cut
        assert bad.came > 1 << 22
        house.memory = 1001
        while house.memory:
            house.whole(good.descriptor)
            await house.look()
        assert (good.was_cut, bad.was_cut, idle.was_cut) == (False, True, False)
        (event,) = house.events("connection.cut")
        assert event["address"] == "10.0.0.1"
        assert event["bytes"] > 1 << 21
        await house.look()
        assert house.reopened == []
        assert not house.watch.squeezed


async def test_a_crowd_is_cut_off_twice_as_many_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = [One(number) for number in range(20)]
    for one in crowd:
        one.grows = 1 << 17
    async with watched(monkeypatch, *crowd) as house:
        house.frees = lambda: all(one.was_cut for one in crowd)
        house.memory = 2000
        cut: list[int] = []
        while house.memory:
            await house.look()
            cut.append(sum(one.was_cut for one in crowd))
        assert list(dict.fromkeys(cut)) == [0, 1, 3, 7, 15, 20]


async def test_where_nobody_counts_bytes_only_the_worst_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    some, most = One(1, counted=False), One(2, counted=False)
    some.grows, most.grows = 1 << 17, 1 << 19
    async with watched(monkeypatch, some, most) as house:
        house.memory = 1 << 40
        while not most.was_cut:
            await house.look()
        assert not some.was_cut


async def test_what_is_freed_later_is_given_back_too(monkeypatch: pytest.MonkeyPatch) -> None:
    trims: list[int] = []
    monkeypatch.setattr(watch_module, "TRIMMED_AFTER_LOOKS", (1, 5))
    async with watched(monkeypatch) as house:
        house.memory = 850
        await house.look()
        monkeypatch.setattr(watch_module, "trim", lambda: trims.append(1))
        house.memory = 100
        await house.look(20)
        assert len(trims) == 2


async def test_who_holds_half_a_message_does_not_stop_everybody_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "HELD_LOOKS", 20)
    async with watched(monkeypatch, One(1)) as house:
        house.frees_when_reopened = "tcp"
        house.memory = 850
        await house.look(15)
        assert house.watch.squeezed
        assert house.reopened == []
        while house.memory:
            await house.look()
        await house.look()
        assert house.reopened == ["tcp"]
        assert not house.watch.squeezed


async def test_memory_that_is_bounded_elsewhere_is_nobodys_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = One(1)
    honest.grows = 1 << 20
    async with watched(monkeypatch, honest) as house:
        house.memory, house.known = 1100, 400
        await house.look(3 * watch_module.PATIENCE_LOOKS)
        assert house.watch.squeezed
        assert not honest.was_cut
        assert house.reopened == []


async def test_with_nobody_to_blame_one_endpoint_after_the_other_is_opened_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with watched(monkeypatch, One(1)) as house:
        house.frees_when_reopened = "ipc"
        house.memory = 2000
        while house.memory:
            await house.look()
        await house.look()
        assert house.reopened == ["tcp", "ipc"]
        assert [one["endpoint"] for one in house.events("endpoint.reopened")] == ["tcp", "ipc"]
        assert not house.watch.squeezed


async def test_no_endpoint_is_opened_anew_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with watched(monkeypatch) as house:
        house.memory = 2000
        await house.look(10 * (watch_module.PATIENCE_LOOKS + watch_module.SETTLING_LOOKS))
        assert house.reopened == ["tcp", "ipc", "ipc2"]


async def test_few_descriptors_left_are_told_once_and_when_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    used = 79
    monkeypatch.setattr(watch_module, "descriptors", lambda: (used, 100))
    async with watched(monkeypatch) as house:
        for used in (79, 80, 90, 76, 74, 79):  # noqa: B007
            await house.look()
        assert house.events("descriptors.high") == [
            {"open": 80, "limit": 100, "over": False},
            {"open": 74, "limit": 100, "over": True},
        ]
        assert all(isinstance(note, Note) for note in house.bench.notes)
