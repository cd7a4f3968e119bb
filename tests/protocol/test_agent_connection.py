"""The agent's half: what it says again to a broker that lost it."""

from __future__ import annotations

from typing import Any

import pytest

from maitred.protocol import frames, messages
from maitred.protocol.agent import AgentConnection
from maitred.protocol.errors import ProtocolError

AGENT, WORKER, OTHER, EPOCH = (bytes([n]) * 16 for n in range(4))


class Talk:
    def __init__(self) -> None:
        self.it = AgentConnection(messages.Agent(AGENT, "general"))

    def said(self) -> list[Any]:
        out = [frames.from_worker.decode(message)[0] for message in self.it.outgoing]
        self.it.outgoing.clear()
        return out

    def hear(self, message: messages.Message, now: float = 0.0, *body: bytes) -> messages.Fence | None:
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


def test_a_refusal_is_raised() -> None:
    talk = Talk()
    talk.it.start(0.0)
    with pytest.raises(ProtocolError, match="no pool"):
        talk.hear(messages.Error(-1, "protocol_error", "no pool 'general'"), 0.0, b"\x80")
