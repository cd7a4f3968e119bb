"""Lines for peers that do not read: bounded each, and all together."""

from __future__ import annotations

import pytest

from maitred.broker import outbox
from maitred.broker.core.effects import Peer, Send, Side
from maitred.broker.outbox import MESSAGE_BYTES, Outbox
from maitred.protocol import messages as m


def peer(n: int) -> Peer:
    return Peer(Side.CLIENTS, b"%d" % n)


def send(n: int) -> Send:
    return Send(peer(n), m.Reply(1), [b""])


@pytest.fixture
def bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MAX_BYTES", 4 * MESSAGE_BYTES)
    monkeypatch.setattr(outbox, "MAX_BYTES_OF_ALL", 9 * MESSAGE_BYTES)


def test_a_line_that_is_full_takes_nothing_more(bounds: None) -> None:
    box = Outbox()
    assert [box.add(send(1)) for _ in range(4)] == [None] * 4
    assert box.add(send(1)) == peer(1)
    assert len(box.drop(peer(1))) == 4
    assert box.add(send(1)) is None


def test_where_all_lines_are_too_long_the_longest_has_to_go(bounds: None) -> None:
    box = Outbox()
    for n, count in [(1, 2), (2, 4), (3, 3)]:
        assert [box.add(send(n)) for _ in range(count)] == [None] * count
    assert box.add(send(4)) == peer(2)
    assert len(box.drop(peer(2))) == 4
    assert box.add(send(4)) is None
    assert len(box) == 3


def test_what_left_counts_no_more(bounds: None) -> None:
    box = Outbox()
    for n in (1, 2, 3):
        for _ in range(3):
            box.add(send(n))
    assert box.retry(lambda one: one.peer == peer(1))
    assert [box.add(send(1)) for _ in range(3)] == [None] * 3
    assert box.add(send(1)) == peer(1)


def test_the_only_peer_may_have_a_line_as_long_as_its_own_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MAX_BYTES_OF_ALL", MESSAGE_BYTES)
    box = Outbox()
    assert box.add(send(1)) is None
    assert box.add(send(1)) is None
