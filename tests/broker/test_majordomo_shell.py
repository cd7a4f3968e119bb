"""Peers of Majordomo's protocol at a running broker's sockets: REQ and DEALER, all three ports, sudden ends."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import zmq
from broker_peers import id128, settings
from majordomo_peers import ECHO, RAW, answer, call, disconnect, heartbeat, reply, worker

from maitred.broker.core.effects import Note
from maitred.broker.shell import Shell
from maitred.protocol import frames
from maitred.protocol import messages as m
from maitred.protocol.body import decode_body, encode_body
from maitred.transport import endpoints, sockets

PATIENCE_S = 5.0


class Running:
    def __init__(self, where: str, **changes: Any) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        sides = [
            sockets.router(self.context, zap_domain=name, handled=False) for name in ("clients", "workers", "majordomo")
        ]
        self.clients, self.workers, self.majordomo = (
            endpoints.bind(side, "tcp://127.0.0.1:0" if where == "tcp" else f"ipc://{where}/{number}")
            for number, side in enumerate(sides)
        )
        self.seen: dict[str, Note] = {}
        self.came = trio.Event()
        clients, workers, majordomo = sides
        core = settings(pools=[RAW], **changes)
        self.shell = Shell(core, clients, workers, self._note, majordomo=majordomo)

    def connect(self, endpoint: str, kind: int = zmq.DEALER) -> Raw:
        socket = self.context.socket(kind)
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(endpoint)
        return Raw(socket)

    async def noted(self, event: str) -> Note:
        with trio.fail_after(PATIENCE_S):
            while event not in self.seen:
                await self.came.wait()
        return self.seen[event]

    def _note(self, note: Note) -> None:
        self.seen[note.event] = note
        self.came.set()
        self.came = trio.Event()


class Raw:
    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.socket = socket

    async def send(self, raw: list[bytes]) -> None:
        await trio.to_thread.run_sync(lambda: self.socket.poll(PATIENCE_S * 1000, zmq.POLLOUT))
        self.socket.send_multipart(raw)

    async def receive(self) -> list[bytes]:
        ready = await trio.to_thread.run_sync(lambda: self.socket.poll(PATIENCE_S * 1000))
        assert ready, "no answer came"
        return self.socket.recv_multipart()


@asynccontextmanager
async def running(where: Any = "tcp", **changes: Any) -> AsyncIterator[Running]:
    broker = Running(str(where), **changes)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(broker.shell.run)
            yield broker
            nursery.cancel_scope.cancel()
    finally:
        broker.context.destroy(linger=0)


@pytest.mark.parametrize("asking", [1, 2])
@pytest.mark.parametrize("serving", [1, 2])
@pytest.mark.parametrize("port", ["own", "ours"])
async def test_a_dealer_and_a_worker_with_bodies_of_all_sizes(asking: int, serving: int, port: str) -> None:
    async with running() as broker:
        old = broker.connect(broker.majordomo if port == "own" else broker.workers)
        client = broker.connect(broker.majordomo if port == "own" else broker.clients)
        await old.send(worker(serving, b"\x01", b"echo"))
        for body in ([b"x"], [b"", b"y" * 9000, b"z" * 2_000_000], []):
            await client.send(call(asking, b"echo", *body, delimiter=asking == 1))
            order = await old.receive()
            assert order[5:] == body
            await old.send(reply(serving, order[3], body))
            assert await client.receive() == answer(asking, b"echo", *body, delimiter=asking == 1)
        assert broker.shell._pump.statistics().rescues == 0


async def test_a_req_socket_and_a_worker_of_ours() -> None:
    async with running() as broker:
        ours, client = broker.connect(broker.workers), broker.connect(broker.majordomo, zmq.REQ)
        await ours.send(frames.encode(m.Register(id128(1), id128(2), ECHO, 1, [m.CommandInfo("run")])))
        await ours.receive()
        await client.send([b"MDPC01", b"echo", b"hello", b"l" * 50_000])
        given, body = frames.to_worker.decode(await ours.receive())
        assert decode_body(body) == {"body": [b"hello", b"l" * 50_000]}
        await ours.send(frames.encode(m.WorkerReply(given.client, given.id, 1), encode_body([b"a", b"b"])))
        assert await client.receive() == [b"MDPC01", b"echo", b"a", b"b"]


async def test_a_client_of_ours_and_an_old_worker() -> None:
    async with running() as broker:
        old, client = broker.connect(broker.workers), broker.connect(broker.clients)
        await client.send(frames.encode(m.Hello(id128(7))))
        await client.receive()
        await old.send(worker(1, b"\x01", b"echo"))
        large = b"l" * 1_000_000
        await client.send(frames.encode(m.Request(1, ECHO, "run"), encode_body({"body": large})))
        order = await old.receive()
        assert order[5:] == [large]
        await old.send(reply(1, order[3], [large]))
        _, body = frames.to_client.decode(await client.receive())
        assert decode_body(body) == large


@pytest.mark.parametrize("kind", ["tcp", "ipc"])
@pytest.mark.parametrize("port", ["own", "ours"])
async def test_the_end_of_a_workers_connection_is_seen_at_once(tmp_path, kind: str, port: str) -> None:
    async with running("tcp" if kind == "tcp" else tmp_path) as broker:
        old = broker.connect(broker.majordomo if port == "own" else broker.workers)
        client = broker.connect(broker.majordomo, zmq.REQ)
        await old.send(worker(1, b"\x01", b"echo"))
        await client.send([b"MDPC01", b"echo", b"x"])
        await old.receive()
        old.socket.close(0)
        *_, mark, why = await client.receive()
        assert (mark, json.loads(why)["code"]) == (b"maitred.error", "worker_lost")
        assert (await broker.noted("worker.died")).fields["means"] == "connection"


async def test_the_end_of_a_clients_connection_ends_its_requests() -> None:
    async with running() as broker:
        client = broker.connect(broker.majordomo)
        await client.send(call(1, b"echo", b"x"))
        await client.send(call(1, b"mmi.service", b"echo"))
        assert (await client.receive())[-1] == b"404"
        client.socket.close(0)
        assert (await broker.noted("client.lost")).fields["requests"] == 1
        assert broker.shell.core.state.majordomo == {}


@pytest.mark.slow
async def test_heartbeats_go_both_ways() -> None:
    async with running(majordomo_heartbeat_s=0.1, heartbeat_interval_s=0.1) as broker:
        old = broker.connect(broker.workers)
        await old.send(worker(2, b"\x01", b"echo"))
        for _ in range(5):
            assert await old.receive() == heartbeat(2)
            await old.send(heartbeat(2))
        while (told := await old.receive()) == heartbeat(2):
            pass
        assert told == disconnect(2)
        await broker.noted("worker.died")


async def test_what_is_kept_for_a_post_mortem_of_it() -> None:
    async with running() as broker:
        client = broker.connect(broker.clients)
        await client.send(call(2, b"nobody", b"x" * 100_000))
        await client.receive()
        assert broker.shell.inputs[-1][2] == b" MDPC02 \x01"
