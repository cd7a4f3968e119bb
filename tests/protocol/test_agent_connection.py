"""The agent's half: what it says again to a broker that lost it."""

from __future__ import annotations

from typing import Any

import pytest

from maitred.protocol import frames, messages
from maitred.protocol.agent import AgentConnection, Order
from maitred.protocol.errors import ProtocolError

AGENT, WORKER, OTHER, EPOCH = (bytes([n]) * 16 for n in range(4))


class Talk:
    def __init__(self) -> None:
        self.it = AgentConnection(messages.Agent(AGENT, "general"))

    def said(self) -> list[Any]:
        out = [frames.from_worker.decode(message)[0] for message in self.it.outgoing]
        self.it.outgoing.clear()
        return out

    def hear(self, message: messages.Message, now: float = 0.0, *body: bytes) -> Order | None:
        return self.it.receive(frames.encode(message, body), now)

    def meet(self) -> None:
        self.it.start(0.0)
        self.hear(messages.Welcome(EPOCH, 1.0, 3, 1 << 20))
        self.said()


def test_it_introduces_itself_and_says_so_again_until_it_is_welcome() -> None:
    talk = Talk()
    talk.it.start(0.0)
    talk.it.tick(0.5, [])
    assert len(talk.said()) == 1
    talk.it.tick(1.0, [])
    assert [type(message) for message in talk.said()] == [messages.Agent]


def test_what_happened_before_the_welcome_is_told_after_it() -> None:
    talk = Talk()
    talk.it.start(0.0)
    talk.it.spawned(WORKER, 12)
    talk.it.spawned(OTHER, 13)
    death = messages.Died(OTHER, messages.Certificate("exit", exit_code=1))
    talk.it.died(death)
    talk.it.degraded("no module")
    talk.said()
    talk.hear(messages.Welcome(EPOCH, 1.0, 3, 1 << 20))
    assert talk.said() == [messages.Spawned(WORKER, 12), death, messages.Degraded("no module")]


def test_a_broker_that_lost_it_is_told_of_the_living() -> None:
    talk = Talk()
    talk.meet()
    talk.it.spawned(WORKER, 12)
    talk.said()
    talk.hear(messages.Stranger(), 5.0)
    talk.hear(messages.Stranger(), 5.0)
    assert [type(message) for message in talk.said()] == [messages.Agent]
    talk.hear(messages.Welcome(EPOCH, 1.0, 3, 1 << 20), 5.0)
    assert talk.said() == [messages.Spawned(WORKER, 12)]


def test_it_vouches_every_interval() -> None:
    talk = Talk()
    talk.meet()
    talk.it.tick(0.0, [WORKER])
    talk.it.tick(0.9, [WORKER])
    assert talk.said() == [messages.Vouch([WORKER])]
    assert talk.it.next_deadline() == 1.0


def test_a_fence_says_who_is_to_be_killed_and_why() -> None:
    talk = Talk()
    talk.meet()
    assert talk.hear(messages.Fence(WORKER)) == messages.Fence(WORKER, "heartbeat", None)
    for_what_it_does = messages.Fence(WORKER, "cancelled", (AGENT, 7))
    assert talk.hear(for_what_it_does) == for_what_it_does


@pytest.mark.parametrize(
    "order", [messages.Resize(3), messages.Recycle([WORKER, OTHER]), messages.Dismiss(WORKER, "recycle")]
)
def test_orders_are_handed_on(order: Order) -> None:
    talk = Talk()
    talk.meet()
    assert talk.hear(order) == order


def test_a_broker_that_lost_it_is_told_the_size_of_now_and_who_is_to_go() -> None:
    talk = Talk()
    talk.meet()
    talk.it.spawned(WORKER, 12)
    talk.it.resized(7)
    talk.it.retire(WORKER, "recycle", "too old")
    assert talk.said()[-1] == messages.Retire(WORKER, "recycle", "too old")
    talk.hear(messages.Stranger(), 5.0)
    assert talk.said() == [messages.Agent(AGENT, "general", size=7)]
    talk.hear(messages.Welcome(EPOCH, 1.0, 3, 1 << 20), 5.0)
    assert talk.said() == [messages.Spawned(WORKER, 12), messages.Retire(WORKER, "recycle", "too old")]
    talk.it.died(messages.Died(WORKER, messages.Certificate("recycle")))
    talk.said()
    talk.hear(messages.Stranger(), 6.0)
    talk.hear(messages.Welcome(EPOCH, 1.0, 3, 1 << 20), 6.0)
    assert [type(message) for message in talk.said()] == [messages.Agent]


def test_only_what_changed_is_reported_and_all_of_it_to_a_new_broker() -> None:
    talk = Talk()
    one, other = messages.WorkerState(WORKER, 100), messages.WorkerState(OTHER, 100, spare=True)
    talk.it.start(0.0)
    talk.it.report([one])
    assert [type(message) for message in talk.said()] == [messages.Agent]
    talk.meet()
    talk.it.report([one, other])
    talk.it.report([one, other])
    grown = messages.WorkerState(WORKER, 200)
    talk.it.report([grown, other])
    assert talk.said() == [messages.Report([one, other]), messages.Report([grown])]
    talk.hear(messages.Stranger(), 5.0)
    talk.hear(messages.Welcome(EPOCH, 1.0, 3, 1 << 20), 5.0)
    talk.said()
    talk.it.report([grown, other])
    assert talk.said() == [messages.Report([grown, other])]


def test_nobody_is_told_of_the_death_of_one_that_was_never_told_of() -> None:
    talk = Talk()
    talk.meet()
    talk.it.died(messages.Died(WORKER, messages.Certificate("exit")))
    assert talk.said() == []


def test_a_refusal_is_raised() -> None:
    talk = Talk()
    talk.it.start(0.0)
    with pytest.raises(ProtocolError, match="no pool"):
        talk.hear(messages.Error(-1, "protocol_error", "no pool 'general'"), 0.0, b"\x80")
