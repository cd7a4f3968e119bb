"""What `maitred up` does between one process's end and the next one's start."""

from __future__ import annotations

import itertools
from typing import cast

import pytest
import trio

from maitred.launcher.processes import ChildProcess, StartError
from maitred.launcher.supervision import RESTART_LONGEST_S, Kept


class Dead:
    """A process that ends after a while."""

    def __init__(self, after_s: float = 0.0) -> None:
        self._after_s = after_s

    async def ended(self) -> int:
        await trio.sleep(self._after_s)
        return 1


def keeper(started: list[float], *lives_s: float) -> Kept:
    """Of processes that live so long each; the last figure counts for all further ones."""
    lives = itertools.chain(lives_s, itertools.repeat(lives_s[-1] if lives_s else 0.0))

    def launch() -> ChildProcess:
        started.append(trio.current_time())
        return cast(ChildProcess, Dead(next(lives)))

    return Kept("it", launch)


async def test_what_goes_on_dying_is_started_later_each_time_up_to_a_limit(autojump_clock: object) -> None:
    started: list[float] = []
    it = keeper(started)
    await it.start()
    with trio.move_on_after(100):
        await it.keep()
    pauses = [after - before for before, after in itertools.pairwise(started)]
    assert pauses[0] == pytest.approx(0, abs=0.001), "who has served is replaced at once"
    assert pauses[1] > 0
    assert all(later >= earlier - 0.001 for earlier, later in itertools.pairwise(pauses))
    assert pauses[-1] == pytest.approx(RESTART_LONGEST_S)


async def test_who_lived_long_is_started_at_once_again(autojump_clock: object) -> None:
    started: list[float] = []
    it = keeper(started, 0, 0, 0, 0, 60, 60)
    await it.start()
    with trio.move_on_after(100):
        await it.keep()
    assert started[5] - started[4] == pytest.approx(60)


async def test_what_does_not_come_up_is_tried_again(autojump_clock: object, capsys: pytest.CaptureFixture[str]) -> None:
    started: list[float] = []
    it = keeper(started, 1.0, 1000.0)

    async def ready(_: ChildProcess) -> None:
        await trio.lowlevel.checkpoint()
        if 1 < len(started) < 4:
            raise StartError("not yet")

    it = Kept("it", it._launch, ready)
    await it.start()
    with trio.move_on_after(100):
        await it.keep()
    assert len(started) == 4
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "maitred: it ended with exit code 1; started again at once"
    assert [line.partition(";")[0] for line in said[1:]] == ["maitred: it did not come up"] * 2
