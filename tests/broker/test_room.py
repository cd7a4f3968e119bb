"""Who is let in: the bounds on connections, one event for many refusals, and silent connections beyond them."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from maitred.broker import room as room_module
from maitred.broker.room import Room, descriptors, raise_descriptors


class One:
    """A connection that remembers whether it was cut off."""

    def __init__(self, number: int, address: str) -> None:
        self.number, self.address, self.was_cut = number, address, False

    def cut(self) -> bool:
        self.was_cut = True
        return True


class Side:
    """Connections as they are told of."""

    def __init__(self) -> None:
        self.all: list[One] = []

    def add(self, address: str, count: int = 1) -> Side:
        for _ in range(count):
            self.all.append(One(len(self.all), address))
        return self

    def __len__(self) -> int:
        return len(self.all)

    def __iter__(self) -> Iterator[One]:
        return iter(self.all)

    def at(self, address: str) -> int:
        return self.addresses().get(address, 0)

    def addresses(self) -> Mapping[str, int]:
        return Counter(one.address for one in self.all)

    def read(self) -> None:
        pass


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def made(*sides: Side, most: int = 10, each: int = 4) -> tuple[Room, list[dict[str, Any]], Clock]:
    clock, told = Clock(), list[dict[str, Any]]()
    room = Room(sides, most, each, clock)  # pyright: ignore[reportArgumentType]
    room.tell = lambda event, fields: told.append({"event": event} | fields)
    return room, told, clock


def test_there_is_room_up_to_the_bounds_of_all_sides_together() -> None:
    one, other = Side().add("10.0.0.1", 2), Side().add("10.0.0.1", 2)
    room, told, _ = made(one, other)
    assert room("10.0.0.1")
    assert told == []
    other.add("10.0.0.1")
    assert not room("10.0.0.1")
    assert room("10.0.0.2")
    assert [one["reason"] for one in told] == ["max_connections_per_address"]
    one.add("10.0.0.3", 4)
    other.add("10.0.0.4", 2)
    assert not room("10.0.0.3")
    assert told[-1] == {"event": "connections.refused", "address": "10.0.0.3", "reason": "max_connections", "open": 11}


def test_those_of_this_user_are_counted_with_all_and_not_by_address() -> None:
    side = Side().add("localhost", 10)
    room, _, _ = made(side)
    assert room("localhost:1000:1000:4711")
    side.add("localhost")
    assert not room("localhost:1000:1000:4711")


def test_a_thousand_refusals_are_one_event_until_it_has_been_quiet() -> None:
    room, told, clock = made(Side().add("10.0.0.1", 5))
    for _ in range(1000):
        assert not room("10.0.0.1")
        clock.now += 0.01
    assert len(told) == 1
    assert room.refused["max_connections_per_address"] == 1000
    clock.now += room_module.QUIET_S
    assert not room("10.0.0.1")
    assert len(told) == 2


@pytest.mark.parametrize(("used", "taken"), [(899, True), (900, False), (1000, False)])
def test_the_last_descriptors_are_kept(monkeypatch: pytest.MonkeyPatch, used: int, taken: bool) -> None:
    monkeypatch.setattr(room_module, "descriptors", lambda: (used, 1000))
    room, _, _ = made(Side())
    assert room("10.0.0.1") is taken
    assert bool(room.refused["descriptors"]) is not taken


def test_who_is_beyond_the_bounds_without_a_handshake_is_cut_off_the_newest_first() -> None:
    side = Side().add("10.0.0.1", 4).add("10.0.0.2", 3).add("10.0.0.1", 2)
    room, told, _ = made(side)
    assert room.tidy(10, 1000) == 2
    assert [one.number for one in side if one.was_cut] == [7, 8]
    assert len(told) == 1
    side.all = [one for one in side if not one.was_cut]
    assert room.tidy(10, 1000) == 0
    side.add("10.0.0.9", 6)
    assert room.tidy(10, 1000) == 3 + 2
    assert [one.address for one in side if one.was_cut] == ["10.0.0.9"] * 3


def test_descriptors_are_counted() -> None:
    before, limit = descriptors()
    with open(__file__), open(__file__):
        assert descriptors() == (before + 2, limit)


@pytest.mark.slow
def test_a_process_may_have_all_descriptors_that_the_system_allows() -> None:
    code = """
import resource
from maitred.broker.room import descriptors, raise_descriptors
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 128))
assert raise_descriptors() == 128
assert descriptors()[1] == 128
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert raise_descriptors() == resource.getrlimit(resource.RLIMIT_NOFILE)[1]
