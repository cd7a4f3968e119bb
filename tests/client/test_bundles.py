"""A client and bundles: what its calls say in one turn leaves together, and a lone call waits for nobody."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import pytest
import zmq
from broker_peers import POOL
from scripted_broker import free_endpoint

from maitred.client import AsyncClient, Client, turn
from maitred.client.errors import Unavailable
from maitred.protocol import frames
from maitred.protocol import messages as m
from maitred.protocol.bundles import first_of, opened
from maitred.transport import sockets

WITHIN_S = 5.0


class Bundling:
    """A broker of a few lines that takes bundles, and answers what comes together together.

    Attributes:
        came: of each message of ZeroMQ with requests, their ids.
        deaf: while set, it takes nothing in.
    """

    def __init__(self, *, bundles: bool = True) -> None:
        self.address = free_endpoint()
        self.came: list[list[int]] = []
        self.deaf = threading.Event()
        self._bundles = bundles
        self._stop = threading.Event()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(WITHIN_S)
        self._context.destroy(linger=0)

    def _run(self) -> None:
        router = sockets.router(self._context, zap_domain="clients", handled=False, linger_ms=0)
        router.bind(self.address)
        while not self._stop.is_set():
            if not self.deaf.is_set() and router.poll(5):
                peer, *raw = router.recv_multipart()
                answers = list(self._answers(opened(raw) or [raw]))
                while answers:
                    message, count = first_of(answers)
                    with contextlib.suppress(zmq.ZMQError):  # who asked is gone already
                        router.send_multipart([peer, *message])
                    del answers[:count]
        router.close(linger=0)

    def _answers(self, received: list[frames.Frames]) -> Iterator[frames.Frames]:
        said = [frames.from_client.decode(one) for one in received]
        asked = [(message, body) for message, body in said if isinstance(message, m.Request)]
        if asked:
            self.came.append([message.id for message, _ in asked])
        for message, _ in said:
            if isinstance(message, m.Hello):
                assert message.bundles
                yield frames.encode(m.Welcome(os.urandom(16), 0.5, 100, 1_000_000, bundles=self._bundles))
        for message, body in asked:
            yield frames.encode(m.Reply(message.id), body)


@pytest.fixture
def broker() -> Iterator[Bundling]:
    made = Bundling()
    yield made
    made.close()


@pytest.fixture(params=["trio", "asyncio"])
def play(request: pytest.FixtureRequest) -> Callable[..., None]:
    async def bounded(broker: Bundling, scene: Callable[[AsyncClient], Awaitable[None]]) -> None:
        with anyio.fail_after(4 * WITHIN_S):
            async with AsyncClient(broker.address, connect_timeout=0.2) as client:
                await scene(client)

    return lambda broker, scene: anyio.run(functools.partial(bounded, broker, scene), backend=request.param)


async def call_together(client: AsyncClient, count: int, times: int = 1, **arguments: Any) -> None:
    await client.execute(POOL, "echo", {"n": 0})

    async def call(n: int) -> None:
        for _ in range(times):
            assert (await client.execute(POOL, "echo", {"n": n, **arguments}))["n"] == n

    async with anyio.create_task_group() as tasks:
        for n in range(count):
            tasks.start_soon(call, n)


def test_calls_of_many_tasks_leave_together_and_are_answered_each(broker: Bundling, play: Callable[..., None]) -> None:
    play(broker, lambda client: call_together(client, 32, 20))
    assert sum(map(len, broker.came)) == 1 + 32 * 20
    assert len(broker.came) < 32 * 20 / 4
    assert all(ids == sorted(ids) for ids in broker.came)


def test_a_call_alone_is_sent_at_once_by_itself(broker: Bundling, play: Callable[..., None]) -> None:
    async def scene(client: AsyncClient) -> None:
        for _ in range(20):
            await client.execute(POOL, "echo", {"n": 1})
            assert not client._open_link()._turn.waiting

    play(broker, scene)
    assert [len(ids) for ids in broker.came] == [1] * 20


def test_a_broker_that_did_not_announce_it_is_sent_single_messages(play: Callable[..., None]) -> None:
    broker = Bundling(bundles=False)
    play(broker, lambda client: call_together(client, 32, 3))
    broker.close()
    assert [len(ids) for ids in broker.came] == [1] * 97


def test_large_and_small_ones_come_whole(broker: Bundling, play: Callable[..., None]) -> None:
    async def scene(client: AsyncClient) -> None:
        async with anyio.create_task_group() as tasks:
            for size in (10, 100_000, 20, 5_000, 30):
                tasks.start_soon(functools.partial(call_together, client, 4, 3, filler=b"x" * size))

    play(broker, scene)
    assert sum(map(len, broker.came)) == 5 * (1 + 4 * 3)


def test_what_gathered_and_finds_no_room_is_said_so_in_time(
    broker: Bundling, play: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "SAME_TURN_S", 10.0)
    failed: list[Unavailable] = []

    async def ask(client: AsyncClient) -> None:
        try:
            with anyio.move_on_after(WITHIN_S):
                await client.execute(POOL, "echo", {"filler": b"x" * 3900})
        except Unavailable as error:
            failed.append(error)

    async def scene(client: AsyncClient) -> None:
        await client.execute(POOL, "echo", {})
        broker.deaf.set()
        async with anyio.create_task_group() as tasks:
            while not failed:  # until all that is between is full
                for _ in range(200):
                    tasks.start_soon(ask, client)
                await anyio.sleep(0.05)
            broker.deaf.clear()

    play(broker, scene)
    assert "takes nothing more" in str(failed[0])


def test_submitted_calls_leave_together(broker: Bundling) -> None:
    with Client(broker.address) as client:
        client.execute(POOL, "echo", {})
        futures = [client.submit(POOL, "echo", {"n": n}) for n in range(500)]
        assert [future.result(WITHIN_S)["n"] for future in futures] == list(range(500))
    assert len(broker.came) < 250
    assert [one for ids in broker.came for one in ids] == sorted(one for ids in broker.came for one in ids)


def test_threads_that_call_alone_send_single_messages(broker: Bundling) -> None:
    with Client(broker.address) as client:
        began = time.monotonic()
        for _ in range(20):
            client.execute(POOL, "echo", {})
        assert time.monotonic() - began < WITHIN_S
    assert [len(ids) for ids in broker.came] == [1] * 20
