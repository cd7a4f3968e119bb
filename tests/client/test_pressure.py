"""Watching how full a pool is: now and at each change, the latest word only, through restarts, until it is closed."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import anyio
import pytest
from broker_peers import POOL
from hypothesis import given
from hypothesis import strategies as st
from scripted_broker import ScriptedBroker, echo

from maitred.client import AsyncClient, Client, Pressure
from maitred.client.errors import InvalidArgument, PoolSaturated, RequestCancelled, Unavailable, UnknownPool
from maitred.client.pressure import Latest, PressureChanges, PressureWatch
from maitred.protocol import frames
from maitred.protocol import messages as m
from maitred.protocol.body import encode_body
from maitred.protocol.client import Failed, PressureChanged

WITHIN_S = 5.0
IDLE = Pressure("general", "ok", 0, 10, None)
FULL = Pressure("general", "full", 10, 10, 0.5)

Make = Callable[..., ScriptedBroker]


def changed(queued: int) -> PressureChanged:
    return PressureChanged(1, "general", m.LEVEL_HIGH, queued, 10, None)


def watched(message: Any, body: Sequence[Any]) -> Iterable[frames.Frames]:
    """Knows one pool, and says that it is idle."""
    if not isinstance(message, m.Watch):
        return echo(message, body)
    if message.pool == "general":
        return [frames.encode(m.Pressure(message.id, message.pool, m.LEVEL_OK, 0, 10))]
    return [frames.encode(m.Error(message.id, "unknown_pool", "no such pool"), encode_body({"nearest": "general"}))]


def watches(broker: ScriptedBroker) -> list[m.Watch]:
    return [message for _, message in broker.said if isinstance(message, m.Watch)]


def cancels(broker: ScriptedBroker) -> list[int]:
    return [message.id for _, message in broker.said if isinstance(message, m.Cancel)]


def fill(broker: ScriptedBroker, queued: int = 10) -> None:
    broker.tell(m.Pressure(watches(broker)[-1].id, "general", m.LEVEL_FULL, queued, 10, 0.5))


# --- between two threads ---


@given(st.lists(st.one_of(st.just("take"), st.integers(0, 99)), max_size=30))
def test_a_reader_gets_the_latest_word_and_each_at_most_once(acts: list[Any]) -> None:
    latest, unread = Latest(), list[int]()
    for act in acts:
        if act != "take":
            latest.put(changed(act))
            unread.append(act)
        elif unread:
            word = latest.take()
            assert word is not None
            assert word.queued == unread[-1]
            unread.clear()
    latest.end()
    assert latest.take() is None


def test_the_end_is_told_once_and_nothing_after_it() -> None:
    latest = Latest()
    latest.put(changed(1))
    latest.put(Failed(1, Unavailable("gone")))
    with pytest.raises(Unavailable):
        latest.take()
    latest.put(changed(2))
    assert latest.take() is None
    closed = Latest()
    closed.end()
    closed.put(changed(1))
    assert closed.take() is None
    assert not closed.begin(0.0)


# --- the synchronous client ---


def test_it_says_how_full_a_pool_is_now_and_at_each_change(make_broker: Make) -> None:
    broker = make_broker(watched)
    with Client(broker.clients) as client:
        with client.pressure("general") as changes:
            assert isinstance(changes, PressureChanges)
            assert next(changes) == IDLE
            fill(broker)
            assert next(changes) == FULL
            assert client.execute("general", "echo", {"n": 1}) == {"n": 1}
            before = broker.beats
            broker.wait(lambda: broker.beats > before + 2)  # else the broker would forget it
        broker.wait(lambda: cancels(broker) == [watches(broker)[0].id])


def test_a_callback_is_told_and_may_fail(make_broker: Make, caplog: pytest.LogCaptureFixture) -> None:
    broker = make_broker(watched)
    told: list[Pressure] = []

    def callback(pressure: Pressure) -> None:
        told.append(pressure)
        if pressure.level == "ok":
            raise LookupError("the user's own")

    with Client(broker.clients) as client:
        watch = client.pressure("general", callback)
        assert isinstance(watch, PressureWatch)
        broker.wait(lambda: told == [IDLE])
        fill(broker)
        broker.wait(lambda: told == [IDLE, FULL])
        assert "the user's own" in caplog.text
        watch.close()
        watch.close()
        broker.wait(lambda: cancels(broker))
        fill(broker)
        assert client.submit("general", "echo").result(WITHIN_S) == {}  # came after it, by the same connection
        assert told == [IDLE, FULL]


def test_what_cannot_be_watched_is_said_at_once(make_broker: Make) -> None:
    broker = make_broker(watched)
    with Client(broker.clients) as client:
        for callback in ((), (print,)):
            with pytest.raises(UnknownPool) as caught:
                client.pressure("generl", *callback)
            assert caught.value.nearest == "general"
        with pytest.raises(InvalidArgument):
            client.pressure("")
        assert client.submit("general", "echo").result(WITHIN_S) == {}
    with Client("tcp://127.0.0.1:1", connect_timeout=0.05) as client, pytest.raises(Unavailable):
        client.pressure("general")


def test_a_broker_that_restarts_is_asked_again(make_broker: Make) -> None:
    broker = make_broker(watched)
    with Client(broker.clients) as client, client.pressure("general") as changes:
        assert next(changes) == IDLE
        broker.restart()
        assert next(changes) == IDLE
        first, second = watches(broker)
        assert first.id == second.id
        fill(broker)
        assert next(changes) == FULL


def test_leaving_the_loop_ends_the_watch(make_broker: Make) -> None:
    broker = make_broker(watched)
    with Client(broker.clients) as client:
        for pressure in client.pressure("general"):
            assert pressure == IDLE
            break
        gc.collect()
        broker.wait(lambda: cancels(broker))


def test_closing_the_watch_or_the_client_ends_the_wait(make_broker: Make) -> None:
    broker = make_broker(watched)
    client = Client(broker.clients)
    ends: list[object] = []

    def read(changes: PressureChanges) -> None:
        try:
            ends.append(list(changes))
        except RequestCancelled as error:
            ends.append(error.outcome)

    for close, end in ((lambda changes: changes.close(), [IDLE]), (lambda _: client.close(), "client_closed")):
        changes = client.pressure("general")
        thread = threading.Thread(target=read, args=(changes,))
        thread.start()
        broker.wait(lambda changes=changes: changes._latest._word is None)
        close(changes)
        thread.join(WITHIN_S)
        assert ends.pop() == end
        assert list(changes) == []


def test_a_forked_child_leaves_its_parent_s_watch_alone(make_broker: Make) -> None:
    broker = make_broker(watched)
    with Client(broker.clients) as client, client.pressure("general") as changes:
        assert next(changes) == IDLE
        pid = os.fork()
        if pid == 0:
            try:
                with pytest.raises(RuntimeError, match="by the process that began it"):
                    next(changes)
                changes.close()
                os._exit(0)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        fill(broker)
        assert next(changes) == FULL
        assert not cancels(broker)


# --- the asynchronous client ---


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_tasks_watch_as_threads_do(make_broker: Make, backend: str) -> None:
    broker = make_broker(watched)

    async def scene() -> None:
        with anyio.fail_after(WITHIN_S):
            async with AsyncClient(broker.clients) as client:
                async with client.pressure("general") as changes:
                    assert await anext(changes) == IDLE
                    fill(broker)
                    assert await anext(changes) == FULL
                    with anyio.move_on_after(0.02) as scope:
                        await anext(changes)
                    assert scope.cancelled_caught
                    fill(broker, 8)
                    fill(broker, 9)
                    assert await client.execute("general", "echo", {"n": 1}) == {"n": 1}
                    assert (await anext(changes)).queued == 9  # the latest
                    broker.restart()
                    assert await anext(changes) == IDLE
                    before = broker.beats
                    while broker.beats <= before + 2:  # noqa: ASYNC110 - the condition is another thread's
                        await anyio.sleep(0.002)
                with pytest.raises(StopAsyncIteration):
                    await anext(changes)
                await client.execute("general", "echo")
                assert cancels(broker) == [watches(broker)[0].id]
                with pytest.raises(UnknownPool):
                    async with client.pressure("generl"):
                        pass
                with pytest.raises(RuntimeError, match="async with"):
                    await anext(client.pressure("general"))
                left = client.pressure("general")
                await left.__aenter__()
                await anext(left)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_closed_amid, left)
                    await anyio.wait_all_tasks_blocked()
                    client.close()

    anyio.run(scene, backend=backend)


async def _closed_amid(changes: Any) -> None:
    with pytest.raises(RequestCancelled) as caught:
        await anext(changes)
    assert caught.value.outcome == "client_closed"


# --- a real broker ---


@pytest.mark.slow
def test_a_pool_that_fills_and_empties(make_site: Callable[..., Any]) -> None:
    site = make_site(max_queue=4)
    with Client(site.clients) as client, client.pressure(POOL) as changes:
        assert next(changes).level == "ok"
        hanging = [client.submit(POOL, "hang") for _ in range(4)]
        site.wait(lambda: len(site.started) == 4)
        with pytest.raises(PoolSaturated):
            client.execute(POOL, "echo")
        while (pressure := next(changes)).level != "full":
            assert pressure.level == "high"
        assert pressure.capacity == 4
        for future in hanging:
            future.cancel()
        while next(changes).level != "ok":
            client.execute(POOL, "echo", on_saturated="wait")  # a level is looked at when something happens
