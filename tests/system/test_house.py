"""What `maitred up` does between one process's end and the next one's start."""

from __future__ import annotations

import itertools
from typing import cast

import trio
import trio.testing

from maitred.cli.house import House
from maitred.cli.processes import ChildProcess
from maitred.config import load


class Dead:
    """A process that has ended."""

    async def ended(self) -> int:
        await trio.lowlevel.checkpoint()
        return 1


async def test_what_died_is_not_started_again_once_all_is_to_end() -> None:
    house = House(load(None), "info", "text")
    started: list[float] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house._watch, lambda: cast(ChildProcess, Dead()), lambda: started.append(1), "it")
        await trio.testing.wait_all_tasks_blocked()
        assert not started
        house._stopping.set()
    assert not started


async def test_what_dies_is_started_again_later_each_time(autojump_clock: object) -> None:
    house = House(load(None), "info", "text")
    started: list[float] = []
    async with trio.open_nursery() as nursery:
        restart = lambda: started.append(trio.current_time())  # noqa: E731
        nursery.start_soon(house._watch, lambda: cast(ChildProcess, Dead()), restart, "it")
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    pauses = [after - before for before, after in itertools.pairwise(started)]
    assert len(pauses) >= 3
    assert pauses == sorted(pauses)
