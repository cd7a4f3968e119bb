"""What is told to stop and does not: killed where nobody else is hurt, else given up. And who is hurt all the same."""

from __future__ import annotations

from typing import Any

import pytest
from broker_peers import POOL, Bench, details, id128

from maitred.broker.core.effects import Peer
from maitred.broker.core.settings import PoolSettings
from maitred.protocol import messages as m
from maitred.protocol.limits import INTERRUPT_AFTER_S

CLIENT = id128(7)
WORKER = 100
GRACE_S = 0.5


def echo(n: int, command: str = "echo", **fields: Any) -> m.Request:
    return m.Request(n, POOL, command, **fields)


class House:
    """An agent with one worker, and a client."""

    def __init__(self, slots: int = 1, prefetch: int = 0, **pool: Any) -> None:
        self.bench = Bench(pools=[PoolSettings(POOL, kill_grace_s=GRACE_S, timeout_s=10.0, **pool)])
        self.agent = self.bench.agent()
        self.bench.tell(self.agent, m.Spawned(id128(WORKER), 1))
        self.worker = self.bench.worker(WORKER, slots, prefetch=prefetch)
        self.client = self.bench.client()
        self.bench.take(self.worker)

    def wait(self, seconds: float) -> None:
        end = self.bench.now + seconds
        while self.bench.now < end:
            self.bench.advance(min(0.5, end - self.bench.now))
            self.bench.tell(self.client, m.Heartbeat())
            self.bench.tell(self.agent, m.Vouch([id128(WORKER)]))
            self.bench.tell(self.worker, m.Heartbeat())

    def fences(self) -> list[m.Fence]:
        return [message for message, _ in self.bench.take(self.agent) if isinstance(message, m.Fence)]

    def answers(self, client: Peer | None = None) -> list[Any]:
        taken = self.bench.take(client or self.client)
        return [answer for answer in taken if isinstance(answer[0], m.Reply | m.Error)]

    def killed(self, cause: str, *started: int) -> None:
        died = m.Died(id128(WORKER), m.Certificate(cause), [(CLIENT, n) for n in started])
        self.bench.tell(self.agent, died)


def test_what_does_not_stop_is_killed_after_its_grace_and_the_caller_told() -> None:
    house = House()
    house.bench.tell(house.client, echo(1), b"")
    house.bench.tell(house.client, m.Cancel(1))
    house.wait(INTERRUPT_AFTER_S + GRACE_S - 0.05)
    assert house.fences() == []
    house.wait(0.1)
    assert house.fences() == [m.Fence(id128(WORKER), "cancelled", (CLIENT, 1))]
    house.killed("cancelled", 1)
    (answer,) = house.answers()
    assert details(answer) == ("cancelled", {"outcome": "killed"})


def test_what_stops_in_time_is_left_alone() -> None:
    house = House()
    house.bench.tell(house.client, echo(1), b"")
    house.bench.tell(house.client, m.Cancel(1))
    house.bench.tell(
        house.worker, m.WorkerError(CLIENT, 1, 1, "cancelled", "it stopped"), b"\x81\xa7outcome\xa7stopped"
    )
    house.bench.tell(house.client, echo(2), b"")
    house.wait(5.0)
    assert house.fences() == []


@pytest.mark.parametrize(("how", "cause"), [("deadline", "timeout"), ("client", "cancelled"), ("operator", "operator")])
def test_a_deadline_a_client_that_is_gone_and_an_operator_end_a_process_too(how: str, cause: str) -> None:
    house = House()
    house.bench.tell(house.client, echo(1, timeout=1.0 if how == "deadline" else None), b"")
    if how == "client":
        house.bench.perform(house.bench.core.undeliverable(house.client, m.Heartbeat(), house.bench.now))
    elif how == "operator":
        ((done, _),) = house.bench.say(house.client, m.Operate(2, "cancel", f"{CLIENT.hex()[:8]}-1"))
        assert isinstance(done, m.Reply)
        assert house.bench.take(house.worker)[-1][0] == m.WorkerCancel(CLIENT, 1, "operator")
    house.wait(1.0 + INTERRUPT_AFTER_S + GRACE_S + 0.1)
    assert house.fences()[0] == m.Fence(id128(WORKER), cause, (CLIENT, 1))


def test_the_neighbours_of_one_that_was_killed_run_again_if_they_may() -> None:
    house = House(slots=3, kill_on_cancel=True)
    for n, command in enumerate(["echo", "echo", "safe"], 1):
        house.bench.tell(house.client, echo(n, command), b"")
    house.bench.tell(house.client, m.Cancel(1))
    house.wait(1.0)
    assert house.fences()
    house.killed("cancelled", 1, 2, 3)
    said = {answer[0].id: details(answer) for answer in house.answers()}
    assert said[1] == ("cancelled", {"outcome": "killed"})
    assert said[2][0] == "worker_lost"
    assert said[2][1]["certificate"]["cause"] == "cancelled"
    assert 3 not in said
    assert [order.id for order in house.bench.orders(house.bench.worker(WORKER + 10))] == [3]


def test_where_others_run_besides_it_is_given_up_and_the_worker_suspect_until_it_returns() -> None:
    house = House(slots=2)
    house.bench.tell(house.client, echo(1), b"")
    house.bench.tell(house.client, m.Cancel(1))
    house.wait(1.0)
    assert house.fences() == []
    (answer,) = house.answers()
    assert details(answer) == ("cancelled", {"outcome": "abandoned"})
    assert house.bench.core.table("workers", house.bench.now)[0]["state"] == "suspect"
    house.bench.take(house.worker)
    house.bench.tell(house.client, echo(2), b"")
    assert house.bench.orders(house.worker) == []
    house.bench.tell(house.worker, m.WorkerReply(CLIENT, 1, 1), b"late")
    assert [order.id for order in house.bench.orders(house.worker)] == [2]
    assert house.answers() == []


def test_one_that_is_given_up_is_killed_all_the_same_once_its_pools_time_has_passed() -> None:
    house = House(slots=2)
    house.bench.tell(house.client, echo(1), b"")
    house.bench.tell(house.client, m.Cancel(1))
    house.wait(INTERRUPT_AFTER_S + GRACE_S + 9.5)
    assert house.fences() == []
    house.wait(1.0)
    assert house.fences()[0] == m.Fence(id128(WORKER), "timeout", (CLIENT, 1))


def test_a_worker_without_an_agent_cannot_be_killed_so_its_work_is_given_up() -> None:
    bench = Bench(pools=[PoolSettings(POOL, kill_grace_s=GRACE_S)])
    client, worker = bench.client(), bench.worker()
    bench.tell(client, echo(1), b"")
    bench.tell(client, m.Cancel(1))
    bench.advance(1.0)
    bench.tell(worker, m.Heartbeat())
    (answer,) = [one for one in bench.take(client) if isinstance(one[0], m.Error)]
    assert details(answer) == ("cancelled", {"outcome": "abandoned"})


def test_one_that_was_sent_ahead_and_not_begun_does_not_cost_its_worker() -> None:
    """The agent is asked with `only`, and does nothing; the request finds the cancel when its turn comes."""
    house = House(prefetch=3)
    house.bench.tell(house.client, echo(1), b"")
    house.bench.tell(house.worker, m.WorkerReply(CLIENT, 1, 1, 0.00001), b"")
    for n in (2, 3):
        house.bench.tell(house.client, echo(n), b"")
    assert len(house.bench.orders(house.worker)) == 3
    house.bench.tell(house.client, m.Cancel(3))
    house.wait(1.0)
    assert all(fence.only == (CLIENT, 3) for fence in house.fences())
    house.bench.tell(house.worker, m.WorkerReply(CLIENT, 2, 1, 0.9), b"")
    house.bench.tell(house.worker, m.WorkerError(CLIENT, 3, 1, "cancelled", "not begun"), b"\x80")
    house.wait(3.0)
    assert house.fences() == []


def test_what_an_operator_gets_wrong_is_answered() -> None:
    house = House()
    for verb, target, argument in [("stop", "x", "verb"), ("cancel", "nobody-1", "target"), ("release", "f", "target")]:
        code, said = details(house.bench.say(house.client, m.Operate(9, verb, target))[0])
        assert (code, said["argument"]) == ("invalid_argument", argument)
