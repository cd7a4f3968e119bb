"""The shell over real sockets: hand-made peers on both sides of a running broker."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import zmq
from broker_peers import POOL, id128, settings

from maitred.broker import shell as shell_module
from maitred.broker.core.effects import Note
from maitred.broker.shell import Shell
from maitred.protocol import frames, limits
from maitred.protocol import messages as m
from maitred.transport import endpoints, sockets

PATIENCE_S = 5.0


class Running:
    """A broker on two free ports, and what it noted."""

    def __init__(self, **changes: Any) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        sides = [sockets.router(self.context, zap_domain=name, handled=False) for name in ("clients", "workers")]
        self.clients, self.workers = (endpoints.bind(side, "tcp://127.0.0.1:0") for side in sides)
        self.notes: list[Note] = []
        self.shell = Shell(settings(**changes), *sides, self.notes.append)

    def connect(self, endpoint: str) -> Raw:
        socket = sockets.dealer(self.context, linger_ms=0)
        endpoints.connect(socket, endpoint)
        return Raw(socket)


class Raw:
    """A DEALER that waits by polling in a thread, so that it depends on nothing under test."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.socket = socket

    async def send(self, message: m.Message, *body: bytes) -> None:
        await self.send_raw(frames.encode(message, body))

    async def send_raw(self, raw: list[bytes]) -> None:
        await trio.to_thread.run_sync(lambda: self.socket.poll(PATIENCE_S * 1000, zmq.POLLOUT))
        self.socket.send_multipart(raw)

    async def receive(self, decode: Callable[[list[bytes]], Any]) -> Any:
        ready = await trio.to_thread.run_sync(lambda: self.socket.poll(PATIENCE_S * 1000))
        assert ready, "no answer came"
        return decode(self.socket.recv_multipart())


@asynccontextmanager
async def running(**changes: Any) -> AsyncIterator[Running]:
    broker = Running(**changes)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(broker.shell.run)
            yield broker
            nursery.cancel_scope.cancel()
    finally:
        broker.context.destroy(linger=0)


async def hello(broker: Running) -> Raw:
    client = broker.connect(broker.clients)
    await client.send(m.Hello(id128(7)))
    assert isinstance((await client.receive(frames.to_client.decode))[0], m.Welcome)
    return client


async def register(broker: Running) -> Raw:
    worker = broker.connect(broker.workers)
    await worker.send(m.Register(id128(1), id128(2), POOL, 1, [m.CommandInfo("echo")]))
    assert isinstance((await worker.receive(frames.to_worker.decode))[0], m.Welcome)
    return worker


async def round_trip(client: Raw, worker: Raw, request_id: int, body: bytes) -> bytes:
    await client.send(m.Request(request_id, POOL, "echo"), body)
    order, given = await worker.receive(frames.to_worker.decode)
    await worker.send(m.WorkerReply(order.client, order.id, order.attempt), *given)
    reply, result = await client.receive(frames.to_client.decode)
    assert reply == m.Reply(request_id, 1)
    return result[0]


@pytest.mark.parametrize("size", [0, 100, 20_000, 2_000_000])
async def test_a_request_goes_round(size: int) -> None:
    async with running() as broker:
        client, worker = await hello(broker), await register(broker)
        body = os.urandom(size)
        assert await round_trip(client, worker, 1, body) == body
        assert broker.shell._pump.statistics().rescues == 0


async def test_a_deadline_is_kept_by_the_timer() -> None:
    async with running() as broker:
        client = await hello(broker)
        started = trio.current_time()
        await client.send(m.Request(1, POOL, "echo", timeout=0.1), b"")
        error, _ = await client.receive(frames.to_client.decode)
        assert error.code == "deadline_exceeded"
        assert 0.1 <= trio.current_time() - started < 1.0


@pytest.mark.slow
async def test_a_thousand_broken_messages_on_both_ports_are_counted_and_survived() -> None:
    async with running() as broker:
        client, worker = await hello(broker), await register(broker)
        whole = frames.encode(m.Request(1, POOL, "echo"), [b""])[0]
        for n in range(500):
            bad = [os.urandom(n % 40)] if n % 2 else [whole[: n % len(whole)], b""]
            for endpoint in (client, worker):
                await endpoint.send_raw(bad)
                error, _ = await endpoint.receive(frames.to_client.decode)
                assert error.code == "protocol_error"
        assert broker.shell.core.state.counts["protocol.error"] == 1000
        assert await round_trip(client, worker, 2, b"still here") == b"still here"


async def test_a_message_of_too_many_frames_is_refused() -> None:
    async with running() as broker:
        client = await hello(broker)
        await client.send_raw([b"x"] * 200)
        error, _ = await client.receive(frames.to_client.decode)
        assert error.code == "protocol_error"
        assert "200 frames" in error.message


async def test_drain_ends_when_the_last_answer_has_left() -> None:
    async with running() as broker:
        client, worker = await hello(broker), await register(broker)
        await client.send(m.Request(1, POOL, "echo"), b"")
        order, _ = await worker.receive(frames.to_worker.decode)
        broker.shell.drain()
        assert not broker.shell.drained.is_set()
        await worker.send(m.WorkerReply(order.client, order.id, 1), b"")
        with trio.fail_after(PATIENCE_S):
            await broker.shell.drained.wait()
        assert isinstance((await client.receive(frames.to_client.decode))[0], m.Reply)


async def test_drain_ends_when_answers_that_had_to_wait_have_left() -> None:
    """More than fit a queue, all at once: the requests that a drain refuses."""
    async with running() as broker:
        broker.shell._pump._sockets[0].setsockopt(zmq.SNDHWM, 1)
        client = await hello(broker)
        for number in range(600):
            await client.send(m.Request(number, POOL, "x" * 100), b"")
        with trio.fail_after(PATIENCE_S):
            while len(broker.shell.core.state.requests) < 600:
                await trio.testing.wait_all_tasks_blocked(0.001)
        broker.shell.drain()
        assert broker.shell.drained.is_set() == (not broker.shell._outbox)
        for _ in range(600):
            error, _ = await client.receive(frames.to_client.decode)
            assert error.code == "unavailable"
        with trio.fail_after(PATIENCE_S):
            await broker.shell.drained.wait()


async def test_drain_does_not_wait_for_who_never_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell_module, "FAREWELL_S", 0.05)
    async with running() as broker:
        broker.shell._pump._sockets[0].setsockopt(zmq.SNDHWM, 1)
        client = await hello(broker)
        for number in range(600):
            await client.send(m.Request(number, POOL, "x" * 100), b"")
        with trio.fail_after(PATIENCE_S):
            while len(broker.shell.core.state.requests) < 600:
                await trio.testing.wait_all_tasks_blocked(0.001)
            broker.shell.drain()
            await broker.shell.drained.wait()


async def test_what_is_kept_for_a_post_mortem_is_bounded() -> None:
    async with running() as broker:
        client = await hello(broker)
        await client.send_raw([b"x" * 10_000_000])
        error, _ = await client.receive(frames.to_client.decode)
        assert error.code == "protocol_error"
        _, _, kept = broker.shell.inputs[-1]
        assert len(kept) <= limits.MAX_HEADER_BYTES + 1


@pytest.mark.slow
async def test_a_client_that_does_not_read_is_failed_and_hurts_nobody() -> None:
    async with running() as broker:
        deaf, client, worker = await hello(broker), await hello(broker), await register(broker)
        await deaf.send(m.Request(1, POOL, "echo", timeout=60.0, window=1 << 20), b"")
        order, _ = await worker.receive(frames.to_worker.decode)
        part = os.urandom(1_000_000)
        for number in range(400):
            await worker.send(m.WorkerPart(order.client, 1, 1, number), part)
            if any(note.event == "peer.overflow" for note in broker.notes):
                break
        with trio.fail_after(PATIENCE_S):
            while not any(note.event == "client.lost" for note in broker.notes):
                await trio.testing.wait_all_tasks_blocked(0.01)
        await worker.send(m.WorkerReply(order.client, 1, 1), b"")
        cancel, _ = await worker.receive(frames.to_worker.decode)
        assert isinstance(cancel, m.WorkerCancel)
        assert await round_trip(client, worker, 2, b"fine") == b"fine"
