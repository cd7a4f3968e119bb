"""A request that kills workers is refused in the end, and nothing else is."""

from __future__ import annotations

import pytest
from broker_peers import POOL, Bench, details, id128

from maitred.broker.core.effects import Peer
from maitred.broker.core.settings import PoolSettings
from maitred.protocol import messages as m

CLIENT = id128(7)


class House:
    """A pool whose workers die."""

    def __init__(self, **pool: int) -> None:
        self.bench = Bench(pools=[PoolSettings(POOL, **pool)])
        self.agent = self.bench.agent()
        self.client = self.bench.client()
        self.workers = 100
        self.requests = 0

    def worker(self) -> Peer:
        self.workers += 10
        self.bench.tell(self.agent, m.Spawned(id128(self.workers), 1))
        return self.bench.worker(self.workers)

    def send(self, body: bytes = b"poison", command: str = "echo") -> int:
        self.requests += 1
        self.bench.tell(self.client, m.Request(self.requests, POOL, command), body)
        return self.requests

    def kill(self, cause: str, request: int) -> None:
        died = m.Died(id128(self.workers), m.Certificate(cause), [(CLIENT, request)])
        self.bench.tell(self.agent, died)

    def deaths(self, count: int, cause: str = "signal") -> None:
        for _ in range(count):
            self.worker()
            self.kill(cause, self.send())


def test_after_three_deaths_in_a_row_it_is_refused_and_may_be_released() -> None:
    house = House()
    house.deaths(2)
    worker = house.worker()
    house.kill("oom", house.send())
    house.bench.take(house.client)
    house.worker()
    number = house.send()
    ((refusal, body),) = house.bench.take(house.client)
    assert refusal.id == number
    code, said = details((refusal, body))
    assert (code, said["deaths"], said["certificate"]["cause"]) == ("quarantined", 3, "oom")
    (row,) = house.bench.core.table("quarantine", house.bench.now)
    assert row["fingerprint"] == said["fingerprint"]
    house.send(b"another")
    assert [order.id for order in house.bench.orders(worker)] == [3]
    house.bench.tell(house.client, m.Operate(99, "release", said["fingerprint"]))
    assert isinstance(house.bench.take(house.client)[-1][0], m.Reply)
    house.send()
    assert house.bench.core.table("quarantine", house.bench.now) == []
    assert house.bench.take(house.client) == []


def test_an_idempotent_one_is_not_run_again_once_it_is_in_quarantine() -> None:
    house = House(quarantine_after=2, max_attempts=10)
    house.worker()
    number = house.send(command="safe")
    for _ in range(2):
        house.kill("signal", number)
        house.worker()
    (answer,) = house.bench.take(house.client)
    assert details(answer)[0] == "worker_lost"


def test_success_clears_it() -> None:
    house = House()
    house.deaths(2)
    worker = house.worker()
    number = house.send()
    house.bench.tell(worker, m.WorkerReply(CLIENT, number, 1), b"")
    house.bench.tell(worker, m.Leave())
    house.deaths(2)
    assert house.bench.core.table("quarantine", house.bench.now) == []


@pytest.mark.parametrize("cause", ["cancelled", "timeout", "heartbeat", "recycle", "drain", "operator", "node_lost"])
def test_a_death_that_was_ordered_is_nobodys_fault(cause: str) -> None:
    house = House()
    house.deaths(4, cause)
    assert not house.bench.core.state.quarantine.entries


def test_what_was_not_begun_is_not_to_blame() -> None:
    house = House()
    for _ in range(4):
        house.worker()
        house.send()
        house.bench.tell(house.agent, m.Died(id128(house.workers), m.Certificate("signal"), []))
    assert not house.bench.core.state.quarantine.entries


def test_re_runs_are_a_share_of_what_a_client_asks_for() -> None:
    """A hundred are saved up at most; then one for each ten requests."""
    house = House(max_attempts=100, quarantine_after=100)
    reruns = 0
    for n in range(200):
        house.worker()
        number = house.send(b"%d" % n, "safe")
        house.kill("signal", number)
        lost = [answer for answer in house.bench.take(house.client) if isinstance(answer[0], m.Error)]
        if lost:
            assert details(lost[0])[0] == "worker_lost"
        else:  # it waits to be run again
            reruns += 1
            house.bench.tell(house.client, m.Cancel(number))
            house.bench.take(house.client)
    assert 100 <= reruns <= 120
