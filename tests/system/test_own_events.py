"""Events that workers' own code tells, by real workers: heard by a client, from each kind of command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from user_shell import wait_for

from maitred.client import Event
from maitred.protocol.own_events import EVENTS_AT_ONCE
from maitred.testing import House, Pool, running

pytestmark = pytest.mark.slow
APP = str(Path(__file__).with_name("own_events_app.py"))


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with running(f"{APP}:plain", other=Pool(f"{APP}:under_trio", concurrency=2)) as it:
        yield it


def test_what_is_told_before_the_broker_knows_the_worker_is_not_lost(house: House) -> None:
    worker = next(row["id"] for row in house.client.workers() if row["pool"] == "general")
    event = next(house.client.events("app.loaded", after=0))
    assert (event.name, event.fields["size_mb"], event.fields["worker"]) == ("app.loaded", 1.5, worker)
    assert event.fields["request"] is None


@pytest.mark.parametrize(
    ("pool", "command", "args", "names"),
    [
        ("general", "sync", {"n": 3}, ["sync.done"]),
        ("general", "generated", {}, ["generator.began", "generator.ended"]),
        ("other", "asynchronous", {}, ["async.done"]),
        ("other", "streamed", {}, ["async.began"]),
        ("other", "in_a_thread", {}, ["thread.done"]),
    ],
)
def test_each_kind_of_command_tells(
    house: House, pool: str, command: str, args: dict[str, int], names: list[str]
) -> None:
    last = list(house.client.events(after=0, follow=False))[-1].number
    list(house.client.stream(pool, command, args))
    events = house.client.events("app.*", after=last)
    told = [next(events) for _ in names]
    events.close()
    assert [event.name for event in told] == [f"app.{name}" for name in names]
    for event in told:
        assert (event.fields["pool"], event.fields["command"]) == (pool, command)
        assert event.fields["request"]
        assert args.items() <= event.fields.items()


def test_a_flood_is_thinned_where_it_begins(house: House) -> None:
    client = house.client
    client.execute("general", "flood", {"count": 10_000})

    def told() -> list[Event]:
        client.execute("general", "sync", {"n": 1})
        return list(client.events("app.flood", "app.sync.done", after=0, follow=False))

    def flood() -> int:
        return sum(event.name == "app.flood" for event in told())

    wait_for(lambda: flood() + sum(event.fields.get("lost", 0) for event in told()) >= 10_000)
    assert flood() < 5 * EVENTS_AT_ONCE
