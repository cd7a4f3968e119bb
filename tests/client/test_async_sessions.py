"""A session of the asynchronous client, under trio and under asyncio: as test_sessions, in one loop."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from scripted_broker import ScriptedBroker
from session_broker import CERTIFICATE, House, end, said

from maitred.client import AsyncClient, AsyncSession
from maitred.client.errors import (
    DeadlineExceeded,
    MaitredError,
    PoolSaturated,
    RequestCancelled,
    SessionLost,
    SessionNotFound,
    SessionPoolMismatch,
    Unavailable,
)
from maitred.protocol import messages as m

WITHIN_S = 5.0
Make = Callable[..., ScriptedBroker]
Scene = Callable[[AsyncClient], Awaitable[None]]
Play = Callable[[Scene], None]


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def broker(make_broker: Make, house: House) -> ScriptedBroker:
    return make_broker(house.answers)


@pytest.fixture(params=["trio", "asyncio"])
def play(request: pytest.FixtureRequest, broker: ScriptedBroker) -> Play:
    async def with_client(scene: Scene) -> None:
        with anyio.fail_after(2 * WITHIN_S):
            async with AsyncClient(broker.clients, connect_timeout=1.0) as client:
                await scene(client)

    return lambda scene: anyio.run(functools.partial(with_client, scene), backend=request.param)


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(WITHIN_S):
        while not condition():  # noqa: ASYNC110 - the condition is another thread's
            await anyio.sleep(0.002)


def test_a_block_opens_a_session_and_closes_it(play: Play, broker: ScriptedBroker) -> None:
    async def scene(client: AsyncClient) -> None:
        async with client.session("neural", ttl=60, metadata={"user": "ada"}) as session:
            assert isinstance(session, AsyncSession)
            assert (session.pool, session.ttl, session.epoch) == ("neural", 60.0, 1)
            assert session.metadata["user"] == "ada"
            assert await session.execute("echo", {"n": 1}) == {"n": 1}
            assert [part async for part in session.stream("echo", {"n": 2})] == [{"n": 2}]
            assert await (await session.submit("echo", {"n": 3})).result() == {"n": 3}
            assert [row async for row in session.map("echo", ({"n": n} for n in range(3)))] == [
                {"n": n} for n in range(3)
            ]
            assert await client.execute(None, "echo", session=session.id, affinity="prefer") == {}
            assert {request.session for request in broker.requests} == {bytes.fromhex(session.id)}
            assert [row["id"] for row in await client.sessions()] == [session.id]
            await session.renew()
        assert said(broker, "renew") == said(broker, "close") == [bytes.fromhex(session.id)]
        with pytest.raises(SessionNotFound):
            await session.execute("echo")
        with pytest.raises(SessionNotFound):
            await session.renew()
        await session.close()
        assert len(said(broker, "close")) == 1

    play(scene)


def test_it_can_be_awaited_and_attached_to(play: Play, broker: ScriptedBroker) -> None:
    async def scene(client: AsyncClient) -> None:
        session = await client.session("neural")
        async with client.session(id=session.id) as attached:
            assert attached.pool == "neural"
            assert await attached.execute("echo", {"n": 1}) == {"n": 1}
        assert not said(broker, "close")
        with pytest.raises(SessionPoolMismatch):
            await client.session("general", id=session.id)
        with pytest.raises(SessionNotFound):
            await client.session(id="ab" * 16)
        with pytest.raises(PoolSaturated):
            await client.session("full")
        async with session:  # open already
            pass
        assert len(said(broker, "open")) == 2
        assert (await client.close_session((await client.session("neural")).id))["pool"] == "neural"

    play(scene)


@pytest.mark.slow
def test_it_is_renewed_while_it_is_wanted(play: Play, broker: ScriptedBroker, house: House) -> None:
    async def scene(client: AsyncClient) -> None:
        async with client.session("neural", ttl=0.15), client.session("neural", ttl=0.15, keep_alive=True) as session:
            await until(lambda: len(said(broker, "renew")) >= 3)
            assert set(said(broker, "renew")) == {bytes.fromhex(session.id)}
        count = len(said(broker, "renew"))
        await anyio.sleep(0.12)
        assert len(said(broker, "renew")) == count
        async with client.session("neural", ttl=0.03, keep_alive=True):
            await until(lambda: len(said(broker, "renew")) >= count + 2)
            house.silent = True
            count = len(said(broker, "renew"))
            await anyio.sleep(0.1)
            assert len(said(broker, "renew")) <= count + 1

    play(scene)


def test_its_end_is_told_once(play: Play, broker: ScriptedBroker) -> None:
    async def scene(client: AsyncClient) -> None:
        told: list[MaitredError] = []
        async with client.session("neural", on_lost=told.append) as session:
            broker.tell(m.SessionMoved(bytes.fromhex(session.id), 2))
            await until(lambda: session.moved)
            end(broker, session.id, certificate=CERTIFICATE)
            end(broker, session.id)
            await until(lambda: told)
            assert session.lost is told[0]
            assert isinstance(told[0], SessionLost)
            assert told[0].cause == "oom"
            await client.execute("neural", "echo")
        assert len(told) == 1

    play(scene)


@pytest.mark.slow
def test_a_broker_that_restarts_is_asked_to_tell_of_its_end(play: Play, broker: ScriptedBroker, house: House) -> None:
    async def scene(client: AsyncClient) -> None:
        told: list[MaitredError] = []
        async with client.session("neural", on_lost=told.append) as session:
            before = broker.beats
            await until(lambda: broker.beats > before + 1)
            broker.restart()
            await until(lambda: said(broker, "attach"))
            assert await session.execute("echo") == {}
            house.rows.clear()
            broker.restart()
            await until(lambda: told)
            assert isinstance(told[0], SessionNotFound)

    play(scene)


def test_whoever_gives_up_leaves_nothing_open(play: Play, broker: ScriptedBroker, house: House) -> None:
    async def scene(client: AsyncClient) -> None:
        house.silent = True
        with pytest.raises(DeadlineExceeded):
            await client.session("neural", timeout=0.05)
        with anyio.move_on_after(0.05) as scope:
            await client.session("neural")
        assert scope.cancelled_caught
        await until(lambda: len(said(broker, "close")) == 2)
        assert said(broker, "close") == said(broker, "open")

    play(scene)


def test_a_block_that_is_cancelled_closes_its_session(play: Play, broker: ScriptedBroker) -> None:
    async def scene(client: AsyncClient) -> None:
        with anyio.move_on_after(0.05):
            async with client.session("neural"):
                await anyio.sleep(WITHIN_S)
        await until(lambda: said(broker, "close"))

    play(scene)


def test_closing_the_client_ends_the_wait_and_no_session(play: Play, broker: ScriptedBroker, house: House) -> None:
    async def scene(client: AsyncClient) -> None:
        async with client.session("neural") as session, anyio.create_task_group() as tasks:
            house.silent = True
            tasks.start_soon(_closed_amid, client)
            await until(lambda: len(said(broker, "open")) == 2)
            client.close()
        assert session.lost is None
        assert not said(broker, "close")

    play(scene)


async def _closed_amid(client: AsyncClient) -> None:
    with pytest.raises(RequestCancelled) as caught:
        await client.session("neural")
    assert caught.value.outcome == "client_closed"


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_no_broker_is_said(backend: str) -> None:
    async def scene() -> None:
        async with AsyncClient("tcp://127.0.0.1:1", connect_timeout=0.05) as client:
            with pytest.raises(Unavailable):
                await client.session("neural")

    anyio.run(scene, backend=backend)


def test_options_are_checked(play: Play) -> None:
    async def scene(client: AsyncClient) -> None:
        for options in ({"ttl": -1}, {"affinity": "sticky"}, {"timeout": "1"}):
            wrong: Any = options
            with pytest.raises(ValueError, match=next(iter(options))):
                client.session("neural", **wrong)

    play(scene)
