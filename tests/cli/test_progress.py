"""How far an operation is, told from tables."""

from __future__ import annotations

from typing import Any

import pytest

from maitred.cli import progress


def pool(**more: Any) -> dict[str, Any]:
    return {"name": "a", "queued": 0, "degraded": None, "reason": None} | more


def worker(number: int, state: str = "idle", **more: Any) -> dict[str, Any]:
    held = {"held": 1} if state == "busy" else {}
    return {"id": f"{number:032x}", "pool": "a", "state": state, "agent": True} | held | more


OTHERS = [worker(90, pool="b"), worker(91, "starting", pool="b"), worker(92, "busy", pool="b")]
"""Of another pool: they count for nothing."""


@pytest.mark.parametrize(
    ("workers", "done"),
    [
        ([worker(1), worker(2, "busy")], True),
        ([worker(1)], False),
        ([worker(1), worker(2, "starting")], False),
        ([worker(1), worker(2), worker(3)], False),
        ([worker(1), worker(2), worker(3, "draining")], False),
        ([worker(1), worker(2), worker(3, "spare")], True),
        ([worker(1), worker(2, "suspect")], False),
    ],
)
def test_scaled(workers: list[dict[str, Any]], done: bool) -> None:
    assert progress.scaled("a", 2)([pool()], [*OTHERS, *workers]).done is done


def test_a_pool_that_is_degraded_is_not_waited_for() -> None:
    broken = [pool(degraded="no module named x"), pool(name="b")]
    for goal in (progress.scaled("a", 2), progress.recycled(["a"], [], 2)):
        assert goal(broken, [worker(1)]).hopeless == "the pool is degraded: no module named x"
        assert not goal([pool(), pool(name="b", degraded="no")], []).hopeless
    assert not progress.scaled("a", 0)(broken, [worker(1)]).hopeless, "to shrink it, none needs to be started"


def test_recycled_means_that_the_old_are_gone_and_as_many_are_there() -> None:
    goal = progress.recycled(["a"], {worker(1)["id"], worker(2)["id"]}, 2)
    for workers, done in (
        ([worker(1), worker(2), worker(3)], False),
        ([worker(2, "draining"), worker(3), worker(4)], False),
        ([worker(3), worker(4, "starting")], False),
        ([worker(3), worker(4)], True),
    ):
        assert goal([pool()], [*OTHERS, *workers]).done is done
    text = goal([pool()], [worker(2, "draining"), worker(3)]).text
    assert text == "1 of 2 workers are replaced (00000000 is draining)"


def test_nobody_replaces_one_that_has_no_agent() -> None:
    goal = progress.recycled(["a"], {worker(1)["id"]}, 0)
    assert goal([pool()], []).done
    assert not progress.recycled(["a"], {worker(1)["id"]}, 1)([pool()], [worker(2, agent=False)]).done


def test_gone() -> None:
    goal = progress.gone(worker(1)["id"])
    assert not goal([pool()], [worker(1, "draining")]).done
    assert goal([pool()], [worker(2)]).done


def test_quiet_means_that_nothing_runs_and_for_a_drain_that_nothing_waits() -> None:
    drained, paused = progress.quiet(["a"], queue=True), progress.quiet(["a"], queue=False)
    other = pool(name="b", queued=7)
    assert drained([pool(), other], [*OTHERS, worker(1)]).done
    assert not drained([pool(queued=1), other], [worker(1)]).done
    assert paused([pool(queued=1), other], [worker(1)]).done
    for goal in (drained, paused):
        assert not goal([pool(), other], [worker(1, "busy")]).done
        assert not goal([pool(), other], [worker(1, "draining", held=1)]).done, "it still runs something"


def test_serving() -> None:
    goal = progress.serving(["a"])
    assert goal([pool(), pool(name="b", reason="paused")], []).done
    stand = goal([pool(reason="no worker is ready yet, 2 are starting")], [])
    assert not stand.done
    assert stand.text == "pool 'a': no worker is ready yet, 2 are starting"


def test_a_few_are_named_and_the_others_counted() -> None:
    many = [worker(number << 96, "draining") for number in range(1, 6)]
    text = progress.recycled(["a"], {row["id"] for row in many}, 0)([pool()], many).text
    named = ", ".join(f"0000000{number} is draining" for number in (1, 2, 3))
    assert text == f"0 of 5 workers are replaced ({named}, 2 more)"
