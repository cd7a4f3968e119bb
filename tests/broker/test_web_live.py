"""What a page is told is made of as many rows as it shows, however many there are: it is made in the broker's loop."""

from __future__ import annotations

from typing import Any

import pytest
from broker_peers import POOL, Bench, id128

from maitred.broker.core import tables
from maitred.broker.core.settings import PoolSettings
from maitred.broker.event_feed import EventFeed
from maitred.broker.web.guard import Right
from maitred.broker.web.house import House
from maitred.broker.web.live import SHOWN_ROWS, Live
from maitred.protocol import messages as m


@pytest.fixture
def bench() -> Bench:
    bench = Bench(pools=[PoolSettings(POOL, max_sessions=1000)])
    client = bench.client()
    for number in range(250):
        bench.worker(1000 + 2 * number)
    for number in range(300):
        bench.tell(client, m.Open(number, id128(50_000 + number), POOL), b"\x80")
    return bench


def house_of(bench: Bench) -> House:
    async def ended() -> None:
        pass

    return House(bench.core, lambda: bench.now, lambda *_: "", EventFeed(), None, ended)


async def test_it_makes_no_more_rows_than_are_shown(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, int] = {"row": 0, "_worker": 0}
    for name in made:
        inner: Any = getattr(tables, name)

        def counting(*args: Any, name: str = name, inner: Any = inner) -> Any:
            made[name] += 1
            return inner(*args)

        monkeypatch.setattr(tables, name, counting)
    told = Live(house_of(bench)).look(Right.READ)
    assert made == {"row": SHOWN_ROWS, "_worker": SHOWN_ROWS}
    assert len(told["sessions"]) == len(told["workers"]) == SHOWN_ROWS
    assert told["totals"] == {"workers": 250, "sessions": 300}
