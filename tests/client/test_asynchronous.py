"""The asynchronous client under trio and under asyncio, against a real broker (see conftest)."""

from __future__ import annotations

import functools
import gc
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import pytest
from broker_peers import POOL

from maitred.client import AsyncClient
from maitred.client.errors import (
    DeadlineExceeded,
    EncodeError,
    PayloadTooLarge,
    PoolSaturated,
    RemoteError,
    RequestCancelled,
    Unavailable,
    UnknownCommand,
    UnknownPool,
)

WITHIN_S = 5.0

Play = Callable[[Any, Callable[[AsyncClient], Awaitable[None]]], None]


@pytest.fixture(params=["trio", "asyncio"])
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], Awaitable[None]]], None]:
    async def bounded(main: Callable[[], Awaitable[None]]) -> None:
        with anyio.fail_after(4 * WITHIN_S):
            await main()

    return lambda main: anyio.run(bounded, main, backend=request.param)


@pytest.fixture
def play(run: Callable[[Callable[[], Awaitable[None]]], None]) -> Play:
    async def with_client(site: Any, scene: Callable[[AsyncClient], Awaitable[None]]) -> None:
        async with AsyncClient(site.clients) as client:
            await scene(client)

    return lambda site, scene: run(functools.partial(with_client, site, scene))


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(WITHIN_S):
        while not condition():  # noqa: ASYNC110 - the condition is another thread's
            await anyio.sleep(0.002)


def numbers(count: int) -> Iterator[dict[str, int]]:
    return ({"n": n} for n in range(count))


def test_every_verb(site: Any, play: Play) -> None:
    async def scene(client: AsyncClient) -> None:
        assert await client.execute(POOL, "echo", {"n": 1}) == {"n": 1}
        assert await client.execute(None, "echo") == {}
        assert [part async for part in client.stream(POOL, "parts", {"n": 200})] == [*range(200), "done"]
        request = await client.submit(POOL, "echo", {"n": 2})
        assert await request.result() == await request.result() == {"n": 2}
        assert request.done()
        assert not request.cancel()
        assert [result["n"] async for result in client.map(POOL, "echo", numbers(100))] == list(range(100))
        assert (await client.pools())[0]["name"] == POOL
        assert (await client.workers())[0]["pool"] == POOL
        data = bytes(1_000_000)
        assert await client.execute(POOL, "echo", {"data": data}) == {"data": data}
        assert await client.execute(POOL, "options", retries=4) == {"idempotent": True, "attempts": 5}

    play(site, scene)


def test_many_tasks_share_one_connection_and_no_thread(site: Any, play: Play) -> None:
    async def scene(client: AsyncClient) -> None:
        await client.execute(POOL, "echo")
        threads = threading.active_count()
        before = site.shell.core.state.clients
        results: list[int] = []

        async def call(n: int) -> None:
            results.append((await client.execute(POOL, "echo", {"n": n}))["n"])

        with anyio.fail_after(2):  # far more than fit into the socket at once: each must be woken when there is room
            async with anyio.create_task_group() as tasks:
                for n in range(200):
                    tasks.start_soon(call, n)
        assert sorted(results) == list(range(200))
        assert threading.active_count() == threads
        assert site.shell.core.state.clients == before

    play(site, scene)


def test_each_mistake_has_its_exception_and_the_client_stays(site: Any, play: Play) -> None:
    async def scene(client: AsyncClient) -> None:
        for pool, command, args, kind in (
            ("generl", "echo", None, UnknownPool),
            (POOL, "ecko", None, UnknownCommand),
            (POOL, "fail", None, RemoteError),
            (POOL, "echo", {"a": object()}, EncodeError),
            (POOL, "echo", {"a": bytes(5 * 1024 * 1024)}, PayloadTooLarge),
        ):
            with pytest.raises(kind):
                await client.execute(pool, command, args)
            with pytest.raises(kind):
                await (await client.submit(pool, command, args)).result()
            with pytest.raises(kind):
                async for _ in client.stream(pool, command, args):
                    pass
            with pytest.raises(kind):
                async for _ in client.map(pool, command, [args or {}]):
                    pass
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded) as caught:
            await client.execute(POOL, "hang", timeout=0.1)
        assert caught.value.where == "running"
        assert time.monotonic() - started < 1.0
        with pytest.raises(ValueError, match="timeout is -1"):
            await client.execute(POOL, "echo", timeout=-1)
        assert await client.execute(POOL, "echo", {"n": 1}) == {"n": 1}

    play(site, scene)


def test_cancelling_the_task_stops_the_request(site: Any, play: Play) -> None:
    async def scene(client: AsyncClient) -> None:
        async def parts() -> None:
            async for _ in client.stream(POOL, "hang"):
                pass

        async def results() -> None:
            async for _ in client.map(POOL, "hang", [{}]):
                pass

        for work in (functools.partial(client.execute, POOL, "hang"), parts, results):
            started = len(site.started)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(work)
                await until(lambda started=started: len(site.started) > started)
                tasks.cancel_scope.cancel()
            await until(lambda started=started: site.started[started][1] in site.cancelled)
            assert await client.execute(POOL, "echo", {"n": 1}) == {"n": 1}

    play(site, scene)


def test_cancelling_whoever_waits_for_a_submitted_request_leaves_it_alone(site: Any, play: Play) -> None:
    async def scene(client: AsyncClient) -> None:
        request = await client.submit(POOL, "later")
        with anyio.move_on_after(0.02):
            await request.result()
        await client.execute(POOL, "echo")
        assert await request.result() == "late"

    play(site, scene)


def test_a_submitted_request_is_cancelled_wherever_it_is(make_site: Callable[..., Any], play: Play) -> None:
    async def scene(client: AsyncClient) -> None:
        running = await client.submit(POOL, "hang")
        queued = await client.submit(POOL, "echo")
        await until(lambda: site.shell.core.state.admitted == 2)
        for request, outcome in ((queued, "removed"), (running, "stopped")):
            assert request.cancel_outcome is None
            assert request.cancel()
            with pytest.raises(RequestCancelled) as caught:
                await request.result()
            assert caught.value.outcome == request.cancel_outcome == outcome
            assert not request.cancel()
        assert [command for command, _ in site.started] == ["hang"]

    site = make_site(slots=1)
    play(site, scene)


def test_leaving_a_stream_or_a_map_stops_it(site: Any, play: Play) -> None:
    async def scene(client: AsyncClient) -> None:
        before = len(site.cancelled)
        async for result in client.map(POOL, "maybe", [{}, {"hang": True}, {"hang": True}]):
            assert result == {}
            break
        gc.collect()
        await until(lambda: len(site.cancelled) == before + 2)
        async with client.map(POOL, "maybe", [{}, {"hang": True}]) as results:
            async for _ in results:
                break
        await until(lambda: len(site.cancelled) == before + 3)
        async with client.stream(POOL, "parts", {"n": 5}) as parts:
            async for part in parts:
                assert part == 0
                break
            await parts.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(parts)
        assert await client.execute(POOL, "echo", {"n": 1}) == {"n": 1}

    play(site, scene)


@pytest.mark.slow
def test_a_map_of_a_thousand_items_backs_off_from_a_full_pool(make_site: Callable[..., Any], play: Play) -> None:
    async def scene(client: AsyncClient) -> None:
        assert [result["n"] async for result in client.map(POOL, "echo", numbers(1000))] == list(range(1000))
        assert 0 < site.saturated < 500

    site = make_site(max_queue=5, slots=2)
    play(site, scene)


def test_a_full_pool_is_raised_or_waited_for(make_site: Callable[..., Any], play: Play) -> None:
    async def scene(client: AsyncClient) -> None:
        hanging = await client.submit(POOL, "hang")
        await until(lambda: site.started)
        with pytest.raises(PoolSaturated):
            await client.execute(POOL, "echo")
        with pytest.raises(PoolSaturated):
            await client.execute(POOL, "echo", timeout=0.1, on_saturated="wait")
        unsent = await client.submit(POOL, "echo", on_saturated="wait")
        results: list[object] = []

        async def call() -> None:
            results.append(await client.execute(POOL, "echo", on_saturated="wait"))

        async def read() -> None:
            results.extend([part async for part in client.stream(POOL, "parts", {"n": 1}, on_saturated="wait")])

        before = site.saturated
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            tasks.start_soon(read)
            request = await client.submit(POOL, "echo", {"n": 1}, on_saturated="wait")
            await until(lambda: site.saturated > before + 4)
            unsent.cancel()
            hanging.cancel()
        assert await request.result() == {"n": 1}
        assert sorted(map(str, results)) == ["0", "done", "{}"]
        with pytest.raises((RequestCancelled, PoolSaturated)):
            await unsent.result()

    site = make_site(max_queue=1)
    play(site, scene)


def test_nobody_there_is_said_in_time_with_the_address(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with AsyncClient("tcp://127.0.0.1:1", connect_timeout=0.05) as client:
            started = time.monotonic()
            for call in (client.execute, client.submit):
                with pytest.raises(Unavailable, match=r"tcp://127\.0\.0\.1:1 within 0\.05 s"):
                    await call(POOL, "echo")
            with pytest.raises(Unavailable, match=r"within 0\.05 s"):
                await client.pools()
            assert time.monotonic() - started < 1.0

    run(main)


@pytest.mark.slow
def test_a_broker_that_restarts(make_site: Callable[..., Any], play: Play) -> None:
    async def scene(client: AsyncClient) -> None:
        request = await client.submit(POOL, "hang")
        await until(lambda: site.started)
        await anyio.to_thread.run_sync(site.stop_broker)
        await anyio.to_thread.run_sync(site.start_broker)
        with pytest.raises(Unavailable, match="restarted; the request may have run"):
            await request.result()
        assert await client.execute(POOL, "echo", {"n": 1}) == {"n": 1}
        await anyio.to_thread.run_sync(site.stop_broker)
        await anyio.to_thread.run_sync(site.start_broker)
        assert await client.execute(POOL, "echo", {"n": 2}) == {"n": 2}  # it was idle, and notices nothing

    site = make_site()
    play(site, scene)


def test_what_the_block_raises_comes_out_as_it_is(site: Any, run: Callable[..., None]) -> None:
    async def main() -> None:
        with pytest.raises(RemoteError):
            async with AsyncClient(site.clients) as client:
                await client.execute(POOL, "fail")
        with pytest.raises(RuntimeError, match="closed"):
            await client.execute(POOL, "echo")
        with pytest.raises(RuntimeError, match="async with"):
            await AsyncClient(site.clients).execute(POOL, "echo")
        with anyio.move_on_after(0.02) as scope:
            async with AsyncClient(site.clients) as client:
                await client.execute(POOL, "hang")
        assert scope.cancelled_caught

    run(main)


def test_closing_ends_what_tasks_wait_for(site: Any, run: Callable[..., None]) -> None:
    async def main() -> None:
        outcomes: list[object] = []

        async def call(client: AsyncClient) -> None:
            with pytest.raises(RequestCancelled) as caught:
                await client.execute(POOL, "hang")
            outcomes.append(caught.value.outcome)

        client = AsyncClient(site.clients)
        async with anyio.create_task_group() as tasks:
            await tasks.start(client.run)
            started = len(site.started)
            tasks.start_soon(call, client)
            await until(lambda: len(site.started) > started)
            client.close()
        assert outcomes == ["client_closed"]
        with pytest.raises(RuntimeError, match="runs already, or is closed"):
            await client.run()

    run(main)
