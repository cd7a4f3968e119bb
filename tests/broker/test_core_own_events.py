"""Events of workers' own code in the core: whose they are, how many are told, and what is counted."""

from __future__ import annotations

import pytest
from broker_peers import POOL, Bench, id128

from maitred.broker.core.effects import Note
from maitred.broker.core.own_events import LENIENCY
from maitred.broker.events import EventLog
from maitred.protocol import messages as m
from maitred.protocol.own_events import EVENTS_AT_ONCE, EVENTS_PER_S

EVENT = m.WorkerEvent("cache.full", {"size": 3}, "echo", "abcd-1")


def own(bench: Bench) -> list[Note]:
    return [note for note in bench.notes if note.event.startswith("app.")]


def test_it_is_told_with_whose_it_is() -> None:
    bench = Bench()
    worker = bench.worker(100)
    bench.take(worker)
    assert bench.say(worker, EVENT) == []
    (note,) = own(bench)
    assert note.event == "app.cache.full"
    assert note.fields == {
        "pool": POOL, "worker": id128(100).hex(), "command": "echo", "request": "abcd-1", "size": 3
    }  # fmt: skip
    assert bench.core.state.counts["app"] == 1
    assert "app.cache.full" not in bench.core.state.counts


def test_it_comes_over_the_second_connection_too() -> None:
    bench = Bench()
    worker = bench.worker(100)
    control = bench.peer(worker.side)
    found = bench.core.state.parties[worker]
    bench.tell(control, m.Attach(id128(100), found.token))  # type: ignore[union-attr]
    bench.tell(control, EVENT)
    assert len(own(bench)) == 1


def test_what_names_the_worker_is_not_the_workers_to_say() -> None:
    bench = Bench()
    fields = {"pool": "other", "worker": "x", "command": "x", "request": "x", "lost": 9, "mine": 1}
    bench.tell(bench.worker(100), m.WorkerEvent("it", dict(fields)))
    (note,) = own(bench)
    assert note.fields == {"pool": POOL, "worker": id128(100).hex(), "command": None, "request": None, "mine": 1}


def test_a_flood_of_one_worker_is_thinned_and_no_others() -> None:
    bench = Bench()
    one, other = bench.worker(100), bench.worker(110)
    most = int(LENIENCY * EVENTS_AT_ONCE)
    for _ in range(most + 30):
        bench.tell(one, EVENT)
    assert len(own(bench)) == most
    bench.tell(other, EVENT)
    assert len(own(bench)) == most + 1
    bench.now += 1 / EVENTS_PER_S
    bench.tell(one, m.WorkerEvent("it", lost=5))
    assert own(bench)[-1].fields["lost"] == 35


@pytest.mark.parametrize("name", ["Full", "a b", "", "a\n", "worker..died"])
def test_a_name_that_is_none_is_a_broken_message(name: str) -> None:
    bench = Bench()
    bench.tell(bench.worker(100), m.WorkerEvent(name))
    assert [note.event for note in bench.notes][-1] == "protocol.error"
    assert own(bench) == []


def test_nobody_else_may_say_it() -> None:
    bench = Bench()
    for peer in (bench.client(), bench.agent()):
        bench.tell(peer, EVENT)
    assert own(bench) == []
    assert sum(note.event == "protocol.error" for note in bench.notes) == 2


class Lines:
    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = []

    def info(self, event: str, **fields: object) -> None:
        self.lines.append((event, fields))

    warning = info


def test_the_log_keeps_its_own_words_and_thins_each_name() -> None:
    lines, now = Lines(), [0.0]
    log = EventLog(lines, clock=lambda: now[0])
    hostile = {"event": 1, "level": 2, "exc_info": 3, "self": 4, "left_out": 5, "size": 6}
    for _ in range(3):
        log(Note("app.it", dict(hostile)))
    log(Note("app.other", {}))
    assert log.counts == {"app": 4}
    shown = {"event_": 1, "level_": 2, "exc_info_": 3, "self_": 4, "left_out_": 5, "size": 6}
    assert lines.lines == [("app.it", shown), ("app.other", {})]
    now[0] = 1.0
    log(Note("app.it", {}))
    assert lines.lines[-1] == ("app.it", {"left_out": 2})
    for number in range(5000):
        log(Note(f"app.it{number}", {}))
    assert len(log.counts) == 1
