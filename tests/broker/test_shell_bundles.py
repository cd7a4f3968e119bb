"""The shell and bundles: opened where they come in, made where what is said to one peer has gathered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from broker_peers import POOL, id128
from test_shell import Raw, Running, hello, register, running

from maitred.broker.core.effects import Effect, Peer, Send, Side
from maitred.broker.core.router import BrokerCore
from maitred.broker.shell import Shell
from maitred.protocol import frames, limits
from maitred.protocol import messages as m
from maitred.protocol.bundles import first_of, opened
from maitred.transport.errors import HostUnreachable, WouldBlock


async def hello_with_bundles(broker: Running) -> Raw:
    client = broker.connect(broker.clients)
    await client.send(m.Hello(id128(7), bundles=True))
    welcome, _ = await client.receive(frames.to_client.decode)
    assert welcome.bundles
    return client


async def register_with_bundles(broker: Running, slots: int) -> Raw:
    worker = broker.connect(broker.workers)
    await worker.send(m.Register(id128(1), id128(2), POOL, slots, [m.CommandInfo("echo")], bundles=True))
    await worker.receive(frames.to_worker.decode)
    return worker


async def receive_all(peer: Raw, count: int, decode: Callable[..., Any]) -> tuple[list[Any], int]:
    """So many messages, and in how many of ZeroMQ they came."""
    came: list[Any] = []
    times = 0
    while len(came) < count:
        raw = await peer.receive(lambda raw: raw)
        came += [decode(one) for one in opened(raw) or [raw]]
        times += 1
    return came, times


def requests(count: int, body: bytes = b"body") -> list[frames.Frames]:
    return [frames.encode(m.Request(number, POOL, "echo"), [body]) for number in range(1, count + 1)]


async def test_a_bundle_of_requests_goes_round_as_bundles_in_order() -> None:
    async with running() as broker:
        client, worker = await hello_with_bundles(broker), await register_with_bundles(broker, 20)
        await client.send_raw(first_of(requests(20))[0])
        orders, times = await receive_all(worker, 20, frames.to_worker.decode)
        assert times == 1
        assert [(order.id, list(body)) for order, body in orders] == [(n, [b"body"]) for n in range(1, 21)]
        replies = [frames.encode(m.WorkerReply(order.client, order.id, 1), body) for order, body in orders]
        await worker.send_raw(first_of(replies)[0])
        answers, times = await receive_all(client, 20, frames.to_client.decode)
        assert times == 1
        assert [(answer.id, list(body)) for answer, body in answers] == [(n, [b"body"]) for n in range(1, 21)]


async def test_who_did_not_announce_it_is_sent_single_messages() -> None:
    async with running() as broker:
        client, worker = await hello(broker), await register(broker)
        await client.send_raw(first_of([frames.encode(m.Heartbeat())] * 5)[0])
        beats, times = await receive_all(client, 5, frames.to_client.decode)
        assert [message for message, _ in beats] == [m.Heartbeat()] * 5
        assert times == 5
        await worker.send_raw(first_of([frames.encode(m.Heartbeat())] * 2)[0])
        assert (await receive_all(worker, 2, frames.to_worker.decode))[1] == 2


async def test_a_broken_message_in_a_bundle_is_answered_and_the_others_are_done() -> None:
    async with running() as broker:
        client = await hello_with_bundles(broker)
        beat = frames.encode(m.Heartbeat())
        nested, _ = first_of([beat, beat])
        broken = [frames.MAGIC + b"\x91\x63"]
        await client.send_raw(first_of([beat, broken, beat, nested, beat])[0])
        answers, _ = await receive_all(client, 5, frames.to_client.decode)
        assert [type(message) for message, _ in answers] == [m.Heartbeat, m.Error, m.Heartbeat, m.Error, m.Heartbeat]
        assert broker.shell.core.state.counts["protocol.error"] == 2


async def test_a_stranger_is_told_so_once_for_each_message() -> None:
    async with running() as broker:
        client = broker.connect(broker.clients)
        await client.send_raw(first_of(requests(3))[0])
        answers, times = await receive_all(client, 3, frames.to_client.decode)
        assert [message for message, _ in answers] == [m.Stranger()] * 3
        assert times == 3


async def test_a_large_body_between_small_ones_keeps_its_place() -> None:
    async with running() as broker:
        client, worker = await hello_with_bundles(broker), await register_with_bundles(broker, 5)
        bodies = [b"a", b"b", b"x" * (limits.MAX_BUNDLED_BYTES + 1), b"c", b"d"]
        sent = [frames.encode(m.Request(n, POOL, "echo"), [body]) for n, body in enumerate(bodies, 1)]
        await client.send_raw(first_of(sent[:2])[0])
        await client.send_raw(sent[2])
        await client.send_raw(first_of(sent[3:])[0])
        orders, _ = await receive_all(worker, 5, frames.to_worker.decode)
        assert [(order.id, body[0]) for order, body in orders] == list(enumerate(bodies, 1))


class Wire:
    """Takes the place of the pump: takes so many messages, then raises."""

    def __init__(self, takes: int, error: Exception) -> None:
        self.taken: list[list[bytes]] = []
        self.takes = takes
        self._error = error

    def send(self, _index: int, message: list[bytes]) -> None:
        if len(self.taken) == self.takes:
            raise self._error
        self.taken.append(message[1:])


CLIENT = Peer(Side.CLIENTS, b"client")


@asynccontextmanager
async def stuck(takes: int, error: Exception) -> AsyncIterator[tuple[Shell, Wire]]:
    """A shell that knows a client, and what takes no more than so many messages for it."""
    broker = Running()
    shell, wire = broker.shell, Wire(takes, error)
    pump, shell._pump = shell._pump, wire  # pyright: ignore[reportAttributeAccessIssue]
    welcome = shell.core.receive(CLIENT, frames.encode(m.Hello(id128(7), bundles=True)), trio.current_time())
    assert len(welcome) == 1
    yield shell, wire
    for side in shell.connections:
        side.close()
    pump.close()
    broker.context.destroy(linger=0)


def say(shell: Shell, count: int) -> list[Send]:
    sends = [Send(CLIENT, m.Reply(number), [b"x" * 4000]) for number in range(count)]
    shell.perform(list(sends))
    return sends


async def test_what_a_full_peer_does_not_take_waits_message_by_message() -> None:
    async with stuck(1, WouldBlock()) as (shell, wire):
        sends = say(shell, 30)
        taken = len(opened(wire.taken[0]) or [])
        assert 2 <= taken < 30
        waiting = shell._outbox.lines[CLIENT]
        assert [send for send, _ in waiting] == sends[taken:]
        assert all(size > 4000 for _, size in waiting)
        later = Send(CLIENT, m.Heartbeat())
        shell.perform([later])
        assert waiting[-1][0] is later
        wire.takes = 1000
        assert shell._outbox.retry(shell._retry)
        left = [frames.to_client.decode(message)[0] for message in wire.taken[1:]]
        assert left == [*(send.message for send in sends[taken:]), later.message]
        assert not shell._outbox


@pytest.fixture
def back(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Peer, list[m.Message]]]:
    """What came back to the core."""
    came: list[tuple[Peer, list[m.Message]]] = []

    def all_undeliverable(_core: BrokerCore, peer: Peer, unsent: list[m.Message], _now: float) -> list[Effect]:
        came.append((peer, unsent))
        return []

    monkeypatch.setattr(BrokerCore, "all_undeliverable", all_undeliverable)
    return came


async def test_what_cannot_reach_a_peer_that_is_gone_comes_back_together_oldest_first(
    back: list[tuple[Peer, list[m.Message]]],
) -> None:
    async with stuck(1, HostUnreachable()) as (shell, wire):
        sends = say(shell, 30)
        taken = len(opened(wire.taken[0]) or [])
        assert back == [(CLIENT, [send.message for send in sends[taken:]])]


async def test_what_overflows_comes_back_with_all_that_is_behind_it(
    back: list[tuple[Peer, list[m.Message]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maitred.broker.outbox.MAX_BYTES", 25_000)
    async with stuck(0, WouldBlock()) as (shell, _):
        sends = say(shell, 10)
        assert back == [(CLIENT, [send.message for send in sends])]
        assert not shell._outbox
