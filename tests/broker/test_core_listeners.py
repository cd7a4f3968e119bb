"""LISTEN: who is told which events, in which order, under which credit, and how a stream of them ends."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from broker_peers import POOL, Bench, details, id128
from hypothesis import given
from hypothesis import strategies as st
from keyed_peers import ROOT, KeyedBench, keyed, policy

from maitred.broker.core.effects import Event, Peer
from maitred.broker.core.listeners import MAX_LISTENS, MAX_WAITING, matches
from maitred.protocol import limits
from maitred.protocol import messages as m

EPOCH = id128(1)
ANOTHER = id128(2)


class Feed(KeyedBench):
    """A bench whose broker has events; `root` may read them all."""

    def __init__(self, *kept: Event, **changes: Any) -> None:
        self.kept = list(kept)
        after = lambda number: [event for event in self.kept if event.number > number]  # noqa: E731 - a field's value
        super().__init__(recent=after, **changes)
        self.root = self.caller("root")

    def happen(self, *names: str, **fields: Any) -> None:
        new = [Event(len(self.kept) + n, 1000.0 + n, name, fields) for n, name in enumerate(names, 1)]
        self.kept += new
        self.perform(self.core.happened(new, self.now))

    def rows(self, peer: Peer) -> list[dict[str, Any]]:
        """What it was told, which are parts in their order."""
        taken = self.take(peer)
        parts = [message for message, _ in taken if isinstance(message, m.Part)]
        assert [part.attempt for part in parts] == [1] * len(parts)
        first = parts[0].number if parts else 0
        assert [part.number for part in parts] == list(range(first, first + len(parts)))
        rows = [msgpack.unpackb(body[0]) for message, body in taken if isinstance(message, m.Part)]
        return [row for row in rows if row["name"]]

    def names(self, peer: Peer) -> list[str]:
        return [row["name"] for row in self.rows(peer)]


def test_each_event_is_told_with_what_it_says() -> None:
    bench = Feed()
    bench.happen("agent.started")
    ((part, body),) = bench.say(bench.root, m.Listen(1, window=64))
    beginning = {"number": 1, "at": 0.0, "name": "", "fields": {}, "lost": 0, "epoch": EPOCH}
    assert (part, msgpack.unpackb(body[0])) == (m.Part(1, 1, 0), beginning)
    bench.happen("worker.died", pool=POOL, signal=None)
    expected = {"number": 2, "at": 1001.0, "name": "worker.died", "fields": {"pool": POOL, "signal": None}, "lost": 0}
    assert bench.rows(bench.root) == [expected | {"epoch": EPOCH}]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ([], ["worker.died", "session.lost", "app.mine"]),
        (["worker.*"], ["worker.died"]),
        (["session.lost", "worker.died"], ["worker.died", "session.lost"]),
        (["app.*"], ["app.mine"]),
        (["*"], ["worker.died", "session.lost", "app.mine"]),
    ],
)
def test_only_those_that_are_wanted(names: list[str], told: list[str]) -> None:
    bench = Feed()
    bench.tell(bench.root, m.Listen(1, names, window=64))
    bench.happen("worker.died", "session.lost", "app.mine")
    assert bench.names(bench.root) == told


def test_those_that_are_kept_come_first_and_none_twice() -> None:
    bench = Feed()
    bench.happen("agent.started", "worker.started")
    bench.tell(bench.root, m.Listen(1, after=1, window=64))
    bench.perform(bench.core.happened(bench.kept, bench.now))  # they were on their way when it began
    bench.happen("worker.died")
    assert bench.names(bench.root) == ["worker.started", "worker.died"]


def test_another_brokers_numbers_do_not_count() -> None:
    bench = Feed()
    bench.happen("agent.started", "worker.started")
    bench.tell(bench.root, m.Listen(1, after=900, epoch=ANOTHER, window=64))
    assert bench.names(bench.root) == ["agent.started", "worker.started"]
    bench.tell(bench.root, m.Listen(2, after=1, epoch=EPOCH, window=64))
    assert bench.names(bench.root) == ["worker.started"]


def test_without_follow_it_ends_after_those_that_are_kept() -> None:
    bench = Feed()
    bench.happen("agent.started", "worker.started")
    beginning, (part, _) = bench.say(bench.root, m.Listen(1, after=0, follow=False, window=2))
    assert isinstance(part, m.Part)  # there is no credit for the second one
    assert isinstance(beginning[0], m.Part)
    (part, _), (end, body) = bench.say(bench.root, m.Grant(1, 5))
    assert (type(part), end, msgpack.unpackb(body[0])) == (m.Part, m.Reply(1), None)
    bench.happen("worker.died")
    assert bench.take(bench.root) == []


def test_a_reader_without_credit_is_not_waited_for_and_told_what_it_missed() -> None:
    bench = Feed()
    bench.tell(bench.root, m.Listen(1))
    bench.happen(*["worker.started"] * (MAX_WAITING + 7))
    assert bench.take(bench.root) == []
    bench.tell(bench.root, m.Grant(1, limits.MAX_WINDOW_PARTS))
    rows = bench.rows(bench.root)
    assert [row["number"] for row in rows] == list(range(8, MAX_WAITING + 8))
    assert {row["lost"] for row in rows} == {7}


def test_events_that_never_reached_the_core_are_counted_as_lost() -> None:
    bench = Feed()
    bench.tell(bench.root, m.Listen(1, window=64))
    bench.happen("worker.started")
    bench.perform(bench.core.happened([Event(9, 0.0, "worker.died", {})], bench.now))
    assert [row["lost"] for row in bench.rows(bench.root)] == [0, 7]


@given(
    st.lists(st.one_of(st.tuples(st.just("grant"), st.integers(1, 5)), st.tuples(st.just("happen"), st.integers(1, 5))))
)
def test_whatever_the_credit_all_come_once_and_in_order(acts: list[tuple[str, int]]) -> None:
    bench, told, credit = Feed(), [], 0
    bench.tell(bench.root, m.Listen(1))
    for act, count in acts:
        if act == "grant":
            bench.tell(bench.root, m.Grant(1, count))
            credit += count
        else:
            bench.happen(*["worker.started"] * count)
        told += [row["number"] for row in bench.rows(bench.root)]
        assert told == list(range(1, min(credit - 1, len(bench.kept)) + 1))  # one is where it begins


def test_who_may_not_read_everything_is_refused() -> None:
    bench = Feed()
    bob = bench.caller("bob", n=8)
    code, more = details(bench.say(bob, m.Listen(1, window=64))[0])
    assert (code, more["missing"]) == ("permission_denied", "read")
    bench.happen("worker.died")
    assert bench.take(bob) == []


def test_who_may_not_read_any_more_is_told_nothing_more() -> None:
    bench = Feed()
    bench.tell(bench.root, m.Listen(1, window=64))
    bench.perform(bench.core.adopt(policy(keyed("root", call=(("*", "*"),))), bench.now))
    bench.take(bench.root)
    bench.happen("worker.died")
    (answer,) = bench.take(bench.root)
    assert details(answer)[0] == "permission_denied"
    bench.happen("worker.died")
    assert bench.take(bench.root) == []


def test_a_name_of_no_event_is_refused_with_the_one_that_may_be_meant() -> None:
    bench = Feed()
    (answer,) = bench.say(bench.root, m.Listen(1, ["worker.dies"]))
    assert details(answer) == ("invalid_argument", {"argument": "names", "nearest": "worker.died"})
    assert "did you mean 'worker.died'" in answer[0].message


def test_a_connection_has_so_many_and_no_more() -> None:
    bench = Feed()
    for n in range(MAX_LISTENS):
        assert bench.say(bench.root, m.Listen(n)) == []
    (answer,) = bench.say(bench.root, m.Listen(99))
    assert details(answer)[0] == "invalid_argument"
    assert bench.say(bench.root, m.Listen(0)) == []  # said again, it begins anew


def test_it_ends_when_it_is_cancelled_or_its_client_is_gone_or_the_broker() -> None:
    bench = Feed()
    bench.say(bench.root, m.Listen(1, window=64))
    (answer,) = bench.say(bench.root, m.Cancel(1))
    assert details(answer) == ("cancelled", {"outcome": "stopped"})
    bench.happen("worker.died")
    assert bench.take(bench.root) == []
    leaver = bench.caller("root", n=9)
    bench.say(leaver, m.Listen(1, window=64))
    bench.tell(leaver, m.Bye())
    bench.happen("worker.died")
    assert bench.take(leaver) == []
    bench.tell(bench.root, m.Listen(2, window=64))
    bench.perform(bench.core.drain(bench.now))
    assert details(bench.take(bench.root)[-1]) == ("unavailable", {"reason": "draining"})
    assert bench.drained == 1


def test_a_field_of_a_class_of_the_brokers_own_is_told_as_text() -> None:
    bench = Feed()
    bench.tell(bench.root, m.Listen(1, window=64))
    bench.happen("worker.died", cause=ROOT)
    assert bench.rows(bench.root)[0]["fields"] == {"cause": str(ROOT)}


def test_a_silent_listener_is_taken_for_gone() -> None:
    bench = Bench(client_silence_s=15.0)
    client = bench.client()
    bench.say(client, m.Listen(1, window=64))
    bench.advance(20.0)
    ((answer, _),) = bench.say(client, m.Grant(1, 1))
    assert isinstance(answer, m.Stranger)


def test_patterns() -> None:
    assert matches("worker.died", ["work*"])
    assert not matches("worker.died", ["worker", "*died", "worker.die"])
