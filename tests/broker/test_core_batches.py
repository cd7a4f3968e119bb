"""Requests that are run as one: who is put together, who waits for whom, and whose slot it is."""

from __future__ import annotations

import pytest
from broker_peers import POOL, Bench, id128

from maitred.broker.core.effects import Peer
from maitred.broker.core.settings import PoolSettings
from maitred.protocol import messages as m

CLIENT = id128(7)


class House:
    def __init__(self, idempotent: bool = False) -> None:
        self.bench = Bench(pools=[PoolSettings(POOL)])
        self.idempotent = idempotent
        self.client = self.bench.client()
        self.sent = 0

    def worker(self, n: int = 100, slots: int = 1) -> Peer:
        embed = m.CommandInfo("embed", self.idempotent, batch=4, max_wait=0.01)
        return self.bench.worker(n, slots, embed, m.CommandInfo("echo"))

    def send(self, count: int, command: str = "embed", **fields: float) -> None:
        for _ in range(count):
            self.sent += 1
            self.bench.tell(self.client, m.Request(self.sent, POOL, command, **fields), b"")  # type: ignore[arg-type]

    def orders(self, worker: Peer) -> list[tuple[int, int]]:
        return [(order.id, order.more) for order in self.bench.orders(worker)]

    def answer(self, worker: Peer, *numbers: int) -> None:
        for number in numbers:
            self.bench.tell(worker, m.WorkerReply(CLIENT, number, 1, 0.005), b"")


def test_an_idle_worker_is_given_one_at_once_and_a_busy_ones_queue_becomes_a_batch() -> None:
    house = House()
    worker = house.worker()
    house.send(6)
    assert house.orders(worker) == [(1, 0)]
    house.answer(worker, 1)
    assert house.orders(worker) == [(2, 3), (3, 2), (4, 1), (5, 0)]
    house.answer(worker, 2, 3, 4)
    assert house.orders(worker) == []  # the batch has its slot until its last request is answered
    house.bench.advance(0.02)
    house.answer(worker, 5)
    house.bench.advance(0.02)
    assert house.orders(worker) == [(6, 0)]


def test_after_a_batch_a_smaller_one_waits_for_its_callers_but_not_longer_than_it_may() -> None:
    house = House()
    worker = house.worker()
    house.send(4)
    house.answer(worker, 1)
    house.answer(worker, 2, 3, 4)
    house.orders(worker)
    house.send(2)
    assert house.orders(worker) == []
    house.send(1)
    assert house.orders(worker) == [(5, 2), (6, 1), (7, 0)]  # as many as the last time
    house.answer(worker, 5, 6, 7)
    house.send(1)
    house.bench.advance(0.009)
    assert house.orders(worker) == []
    house.bench.advance(0.002)
    assert house.orders(worker) == [(8, 0)]
    house.answer(worker, 8)
    house.send(1)
    assert house.orders(worker) == [(9, 0)]  # the last one was alone: nobody is waited for


def test_other_commands_are_not_put_into_it() -> None:
    house = House()
    worker = house.worker()
    house.send(1, "echo")
    house.send(2)
    house.send(1, "echo")
    house.send(1)
    assert house.orders(worker) == [(1, 0)]
    house.answer(worker, 1)
    assert house.orders(worker) == [(2, 2), (3, 1), (5, 0)]  # and the others of its own are, wherever they stand
    house.answer(worker, 2, 3, 5)
    assert house.orders(worker) == [(4, 0)]


def test_a_batch_that_killed_its_worker_is_taken_apart_and_nobody_blamed() -> None:
    house = House(idempotent=True)
    agent = house.bench.agent()
    house.bench.tell(agent, m.Spawned(id128(100), 1))
    worker = house.worker()
    house.send(4)
    house.answer(worker, 1)
    assert len(house.orders(worker)) == 4
    started = [(CLIENT, n) for n in (2, 3, 4)]
    house.bench.tell(agent, m.Died(id128(100), m.Certificate("signal"), started))
    assert not house.bench.core.state.quarantine.entries
    other = house.worker(200)
    for n in (2, 3, 4):
        assert [(order.id, order.more) for order in house.bench.orders(other)] == [(n, 0)]
        house.bench.tell(other, m.WorkerReply(CLIENT, n, 2, 0.005), b"")


def test_no_process_is_killed_under_those_who_share_the_call() -> None:
    house = House()
    agent = house.bench.agent()
    house.bench.tell(agent, m.Spawned(id128(100), 1))
    worker = house.worker()
    house.send(4)
    house.answer(worker, 1)
    house.bench.tell(house.client, m.Cancel(2))
    for _ in range(8):
        house.bench.advance(0.5)
        for peer in (worker, house.client):
            house.bench.tell(peer, m.Heartbeat())
        house.bench.tell(agent, m.Vouch([id128(100)]))
    assert not [one for one, _ in house.bench.take(agent) if isinstance(one, m.Fence)]
    ended = [message for message, _ in house.bench.take(house.client) if isinstance(message, m.Error)]
    assert [(one.id, one.code) for one in ended] == [(2, "cancelled")]
    for n in (3, 4):
        house.bench.tell(house.client, m.Cancel(n))
    for _ in range(8):  # nobody wants it any more
        house.bench.advance(0.5)
        house.bench.tell(worker, m.Heartbeat())
        house.bench.tell(agent, m.Vouch([id128(100)]))
    assert [one.cause for one, _ in house.bench.take(agent) if isinstance(one, m.Fence)][:1] == ["cancelled"]


def test_what_expired_is_left_out() -> None:
    house = House()
    worker = house.worker()
    house.send(1)
    house.orders(worker)
    house.send(1, timeout=0.5)
    house.send(1)
    house.bench.advance(0.6)
    house.bench.tell(house.client, m.Heartbeat())
    house.answer(worker, 1)
    assert house.orders(worker) == [(3, 0)]


def test_what_expired_a_moment_ago_is_left_out_too() -> None:
    """Deadlines are looked at each hundredth of a second; a batch is formed at any time."""
    house = House()
    worker = house.worker()
    house.send(2)
    house.send(1, timeout=0.5)
    house.send(1)
    house.bench.now += 0.501
    house.answer(worker, 1)
    assert house.orders(worker) == [(1, 0), (2, 1), (4, 0)]
    assert [message.code for message, _ in house.bench.take(house.client) if isinstance(message, m.Error)] == [
        "deadline_exceeded"
    ]


def test_each_slot_takes_a_batch() -> None:
    house = House()
    worker = house.worker(slots=2)
    house.send(2)
    assert house.orders(worker) == [(1, 0), (2, 0)]
    house.send(5)
    house.answer(worker, 1)
    assert house.orders(worker) == [(3, 3), (4, 2), (5, 1), (6, 0)]
    assert house.bench.core.state.workers[id128(100)].load == 2


@pytest.mark.parametrize("begun", [True, False])
def test_a_worker_that_is_lost_gives_all_of_it_back(begun: bool) -> None:
    house = House()
    agent = house.bench.agent()
    house.bench.tell(agent, m.Spawned(id128(100), 1))
    worker = house.worker()
    house.send(4)
    house.answer(worker, 1)
    assert len(house.orders(worker)) == 4
    house.bench.take(house.client)
    started = [(CLIENT, n) for n in (2, 3, 4)] if begun else []
    house.bench.tell(agent, m.Died(id128(100), m.Certificate("signal"), started))
    other = house.worker(200)
    if begun:
        assert [message.code for message, _ in house.bench.take(house.client)] == ["worker_lost"] * 3
    else:
        assert house.orders(other) == [(2, 2), (3, 1), (4, 0)]


def test_one_of_it_that_is_cancelled_is_told_and_the_others_go_on() -> None:
    house = House()
    worker = house.worker()
    house.send(3)
    house.answer(worker, 1)
    house.bench.take(worker)
    house.bench.tell(house.client, m.Cancel(2))
    assert house.bench.take(worker) == [(m.WorkerCancel(CLIENT, 2, "cancelled"), [])]
    house.answer(worker, 2, 3)
    assert house.bench.core.state.workers[id128(100)].load == 0
