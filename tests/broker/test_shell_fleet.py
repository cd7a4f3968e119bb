"""A pool that sleeps, is woken, and sleeps again, over real sockets: the shell's timer wakes the core for it."""

from __future__ import annotations

from typing import Any

from broker_peers import POOL, id128
from test_shell import Raw, hello, register, running

from maitred.broker.core.settings import PoolSettings
from maitred.protocol import frames
from maitred.protocol import messages as m

QUICK = PoolSettings(POOL, scale_up_after_s=0.1, scale_down_after_s=0.3, scale_cooldown_s=0.1)


async def told(peer: Raw, kind: type[Any]) -> Any:
    """The next message of this kind; others are passed over."""
    while True:
        message, _ = await peer.receive(frames.to_worker.decode)
        if isinstance(message, kind):
            return message


async def test_a_request_wakes_a_sleeping_pool_and_idleness_sends_it_to_sleep() -> None:
    async with running(pools=[QUICK], heartbeat_liveness=30) as broker:
        agent = broker.connect(broker.workers)
        await agent.send(m.Agent(id128(500), POOL, size=0, least=0, most=2))
        client = await hello(broker)
        await client.send(m.Request(1, POOL, "echo"), b"x")
        assert (await told(agent, m.Resize)).workers == 1
        await agent.send(m.Spawned(id128(1), 1))
        worker = await register(broker)
        order = await told(worker, m.Dispatch)
        await worker.send(m.WorkerReply(order.client, order.id, order.attempt), b"y")
        assert (await client.receive(frames.to_client.decode))[0] == m.Reply(1, 1)
        assert (await told(agent, m.Resize)).workers == 0
        assert (await told(agent, m.Dismiss)).worker == id128(1)
        await worker.send(m.Leave())
        await agent.send(m.Died(id128(1), m.Certificate("drain"), []))
        await client.send(m.Request(2, POOL, "echo"), b"x")
        assert (await told(agent, m.Resize)).workers == 1


async def test_a_worker_that_keeps_its_session_is_dismissed_when_its_time_is_over() -> None:
    async with running(pools=[PoolSettings(POOL, drain_timeout_s=0.3)], heartbeat_liveness=30) as broker:
        agent = broker.connect(broker.workers)
        await agent.send(m.Agent(id128(500), POOL, size=1, least=1, most=1))
        await agent.send(m.Spawned(id128(1), 1))
        client, worker = await hello(broker), await register(broker)
        await client.send(m.Open(1, id128(900), POOL, 60.0), b"\x80")
        await told(worker, m.SessionOpen)
        await agent.send(m.Retire(id128(1), "recycle", "it is old"))
        assert (await told(agent, m.Dismiss)) == m.Dismiss(id128(1), "recycle")
        (note,) = [note for note in broker.notes if note.event == "worker.dismissed"]
        assert note.fields["why"] == "its time was over"
