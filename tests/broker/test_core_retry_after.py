"""Whether `retry_after` is true: a crowd of callers against the core, in simulated time, from one seed.

Callers come at random times, more than the pool can serve, and each that is refused comes back when it is told to, until
it is served. Beside it the same crowd with a fixed wait of a second, and with exponential back-off.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest
from broker_peers import POOL, Bench, details, id128

from maitred.broker.core.effects import Peer, Side
from maitred.broker.core.settings import PoolSettings
from maitred.protocol import frames
from maitred.protocol import messages as m

CLIENT = id128(7)
SERVICE_S = 0.01
WORKERS = 2
CAPACITY = WORKERS / SERVICE_S
SECONDS = 20.0

Wait = Callable[[dict[str, Any], int], tuple[float, int]]
"""From the details of a refusal and the number of tries before it, to seconds, and the ticket to come back with."""


def as_told(said: dict[str, Any], _tries: int) -> tuple[float, int]:
    return said.get("retry_after", 0.1), said.get("ticket", 0)


def a_second(_said: dict[str, Any], _tries: int) -> tuple[float, int]:
    return 1.0, 0


def twice_as_long(_said: dict[str, Any], tries: int) -> tuple[float, int]:
    return 0.02 * 2**tries, 0


class Crowd:
    """Time goes from event to event: somebody comes, a worker is done, or the core wants to be woken."""

    def __init__(self, load: float, wait: Wait, *, max_queue: int = 50, returning: float = 1.0) -> None:
        self.bench = Bench(pools=[PoolSettings(POOL, max_queue=max_queue)])
        self.random = random.Random(4)
        self.client = self.bench.client()
        self.wait, self.returning = wait, returning
        self.number = itertools.count()
        self.events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self.tries: dict[int, int] = {}  # by the request that is under way: how often its caller was refused before
        self.returned = self.returned_in_vain = self.served = self.refused = 0
        for n in range(WORKERS):
            self.perform(self.bench.core.receive(*self.hello(n), self.bench.now))
        at, self.until = self.bench.now, self.bench.now + SECONDS
        while (at := at + self.random.expovariate(load * CAPACITY)) < self.until:
            self.plan(at, self.come, 0, 0)

    def hello(self, n: int) -> tuple[Peer, list[Any]]:
        register = m.Register(id128(100 + n), id128(1), POOL, 1, [m.CommandInfo("echo")])
        return self.bench.peer(Side.WORKERS), frames.encode(register)

    def plan(self, at: float, what: Callable[..., None], *arguments: Any) -> None:
        heapq.heappush(self.events, (at, next(self.number), what, arguments))

    def run(self) -> Crowd:
        core, bench = self.bench.core, self.bench
        while self.events and self.events[0][0] < self.until:
            at, _, what, arguments = heapq.heappop(self.events)
            while (wake := core.next_deadline()) <= at:
                bench.now = max(bench.now, wake)
                self.perform(core.tick(bench.now))
            bench.now = at
            what(*arguments)
        return self

    def perform(self, effects: list[Any]) -> None:
        for effect in effects:
            match getattr(effect, "message", None):
                case m.Dispatch() as order:
                    took = self.random.uniform(0.5, 1.5) * SERVICE_S
                    self.plan(self.bench.now + took, self.done, effect.peer, order, took)
                case m.Reply() as reply:
                    del self.tries[reply.id]
                    self.served += 1
                case m.Error() as error:
                    self.sent_away(self.tries.pop(error.id), details((error, effect.body))[1])
                case _:
                    pass

    def come(self, tries: int, ticket: int) -> None:
        self.returned += tries == 1
        number = next(self.number)
        self.tries[number] = tries
        request = frames.encode(m.Request(number, POOL, "echo", ticket=ticket), [b""])
        self.perform(self.bench.core.receive(self.client, request, self.bench.now))

    def sent_away(self, tries: int, said: dict[str, Any]) -> None:
        self.refused += 1
        self.returned_in_vain += tries == 1
        if self.random.random() < self.returning:
            seconds, ticket = self.wait(said, tries)
            self.plan(self.bench.now + seconds, self.come, tries + 1, ticket)

    def done(self, worker: Peer, order: m.Dispatch, took: float) -> None:
        reply = frames.encode(m.WorkerReply(order.client, order.id, order.attempt, took), [b""])
        self.perform(self.bench.core.receive(worker, reply, self.bench.now))

    @property
    def in_at_first_return(self) -> float:
        return 1 - self.returned_in_vain / self.returned

    @property
    def of_capacity(self) -> float:
        return self.served / SECONDS / CAPACITY


@pytest.mark.parametrize("max_queue", [10, 50, 500])
@pytest.mark.parametrize("load", [1.2, 1.5])
def test_who_waits_as_told_is_served_at_the_first_return(load: float, max_queue: int) -> None:
    crowd = Crowd(load, as_told, max_queue=max_queue).run()
    assert crowd.returned > 100
    assert crowd.in_at_first_return >= 0.95
    assert crowd.of_capacity >= 0.95


@pytest.mark.parametrize("wait", [a_second, twice_as_long])
def test_a_fixed_wait_and_a_back_off_are_worse(wait: Wait) -> None:
    assert Crowd(1.5, wait).run().in_at_first_return < 0.8


@pytest.mark.parametrize("load", [2.0, 5.0, 10.0])
@pytest.mark.parametrize("returning", [0.0, 0.02, 0.5])
def test_goodput_stays_whoever_comes_back(load: float, returning: float) -> None:
    crowd = Crowd(load, as_told, returning=returning).run()
    assert crowd.of_capacity >= 0.97
    if 0 < returning < 0.1:
        assert crowd.in_at_first_return >= 0.9, "a few who come back as told find their place taken by newcomers"
