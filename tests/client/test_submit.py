"""Futures: results, cancelling wherever the request is, waiting on many; and `map` over the same background thread."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ALL_COMPLETED, CancelledError, Future, as_completed, wait
from pathlib import Path
from typing import Any

import pytest
from broker_peers import POOL

from maitred.client import Client, RequestFuture
from maitred.client.errors import (
    EncodeError,
    PoolSaturated,
    RemoteError,
    RequestCancelled,
    Unavailable,
    UnknownCommand,
)
from maitred.testing import Pool

WITHIN_S = 5.0


def test_a_future_has_the_result_or_the_error(client: Client) -> None:
    future = client.submit(POOL, "echo", {"n": 1})
    assert isinstance(future, RequestFuture)
    assert isinstance(future, Future)
    assert future.result(WITHIN_S) == {"n": 1}
    assert future.done()
    assert not future.running()
    assert not future.cancel()
    assert future.cancel_outcome is None
    assert future.wait_cancelled() is None
    assert isinstance(client.submit(POOL, "fail").exception(WITHIN_S), RemoteError)
    with pytest.raises(UnknownCommand):
        client.submit(POOL, "ecko").result(WITHIN_S)
    with pytest.raises(EncodeError):
        client.submit(POOL, "echo", {"a": object()})


@pytest.mark.parametrize("raised", [SystemExit("enough"), KeyboardInterrupt(), ValueError("a bug")])
def test_what_a_callback_raises_ends_nobody_elses_wait(client: Client, raised: BaseException) -> None:
    def stop(_: Future[Any]) -> None:
        raise raised

    future = client.submit(POOL, "later")
    future.add_done_callback(stop)
    with pytest.raises(TimeoutError):  # it is with the worker by now, which answers it after the next
        future.result(0.05)
    client.execute(POOL, "echo")
    assert future.result(WITHIN_S) == "late"
    assert client.submit(POOL, "echo", {"n": 2}, timeout=WITHIN_S).result(WITHIN_S) == {"n": 2}


def test_result_waits_as_long_as_told_and_may_be_asked_again(client: Client) -> None:
    future = client.submit(POOL, "later")
    with pytest.raises(TimeoutError):
        future.result(0.05)
    client.execute(POOL, "echo")
    assert future.result(WITHIN_S) == "late"


def test_many_futures_work_with_the_standard_waits(client: Client) -> None:
    futures = [client.submit(POOL, "echo", {"n": n}) for n in range(100)]
    assert sorted(future.result()["n"] for future in as_completed(futures, WITHIN_S)) == list(range(100))
    late = client.submit(POOL, "later")
    called = threading.Event()
    late.add_done_callback(lambda _: called.set())
    done, waiting = wait([late, *futures], 0.02, ALL_COMPLETED)
    assert waiting == {late}
    assert len(done) == 100
    assert late.cancel()
    assert wait([late], 0).done == {late}
    assert called.is_set()


def test_arguments_may_be_changed_afterwards(client: Client) -> None:
    data = bytearray(100_000)
    future = client.submit(POOL, "echo", {"data": data})
    data[:] = b"x" * 100_000
    assert future.result(WITHIN_S)["data"] == bytes(100_000)


def test_a_running_request_is_stopped(site: Any, client: Client) -> None:
    future = client.submit(POOL, "hang")
    site.wait(lambda: site.started and site.started[-1][0] == "hang")
    number = site.started[-1][1]
    assert future.cancel()
    assert future.cancel()  # as often as one likes
    assert future.cancelled()
    with pytest.raises(CancelledError):
        future.result()
    assert future.wait_cancelled(WITHIN_S) == future.cancel_outcome == "stopped"
    assert number in site.cancelled
    assert client.execute(POOL, "echo", {"still": "usable"}) == {"still": "usable"}


def test_a_queued_request_is_removed(make_site: Callable[..., Any]) -> None:
    site = make_site(slots=1)
    with Client(site.clients) as client:
        first, second = client.submit(POOL, "hang"), client.submit(POOL, "echo")
        site.wait(lambda: site.shell.core.state.admitted == 2)
        assert second.cancel()
        assert second.wait_cancelled(WITHIN_S) == "removed"
        first.cancel()
        assert first.wait_cancelled(WITHIN_S) == "stopped"
        assert [command for command, _ in site.started] == ["hang"]


def test_a_request_that_had_ended_is_not_cancelled_and_one_that_ends_meanwhile_is(client: Client) -> None:
    ended = client.submit(POOL, "echo")
    ended.result(WITHIN_S)
    outcomes = set[object]()
    for _ in range(50):
        future = client.submit(POOL, "echo")
        if future.cancel():
            outcomes.add(future.wait_cancelled(WITHIN_S))
    assert outcomes <= {"unsent", "finished", "removed", "stopped"}
    assert not ended.cancel()
    assert ended.cancel_outcome is None


def test_asyncio_can_await_it(client: Client) -> None:
    async def main() -> object:
        return await asyncio.wrap_future(client.submit(POOL, "echo", {"n": 1}))

    assert asyncio.run(main()) == {"n": 1}


def test_nobody_there_fails_every_future_in_time_and_the_next_try_is_anew() -> None:
    with Client("tcp://127.0.0.1:1", connect_timeout=0.05) as client:
        for _ in range(2):
            futures = [client.submit(POOL, "echo") for _ in range(3)]
            for future in futures:
                with pytest.raises(Unavailable, match=r"tcp://127\.0\.0\.1:1 within 0\.05 s"):
                    future.result(WITHIN_S)


def test_closing_ends_what_futures_wait_for(site: Any) -> None:
    with Client(site.clients) as client:
        future, cancelled = client.submit(POOL, "later"), client.submit(POOL, "hang")
        client.execute(POOL, "options")
        cancelled.cancel()
        cancelled.wait_cancelled(WITHIN_S)
        unanswered = client.submit(POOL, "hang")
    with pytest.raises(RequestCancelled) as caught:
        unanswered.result(0)
    assert caught.value.outcome == "client_closed"
    assert future.done()
    with pytest.raises(RuntimeError, match="closed"):
        client.submit(POOL, "echo")


def test_a_client_that_is_dropped_takes_its_thread_along(site: Any) -> None:
    client = Client(site.clients)
    client.submit(POOL, "echo").result(WITHIN_S)
    assert "maitred-client" in [thread.name for thread in threading.enumerate()]
    gone = weakref.ref(client)
    context = client._context
    del client
    gc.collect()
    assert gone() is None
    assert "maitred-client" not in [thread.name for thread in threading.enumerate()]
    context.term()


# --- a full pool ---


def test_a_full_pool_is_raised_or_waited_for(make_site: Callable[..., Any]) -> None:
    site = make_site(max_queue=1)
    with Client(site.clients) as client:
        hanging = client.submit(POOL, "hang")
        site.wait(lambda: site.started)
        with pytest.raises(PoolSaturated) as caught:
            client.execute(POOL, "echo")
        assert caught.value.capacity == 1
        with pytest.raises(PoolSaturated):
            client.submit(POOL, "echo").result(WITHIN_S)
        started = time.monotonic()
        with pytest.raises(PoolSaturated):
            client.execute(POOL, "echo", timeout=0.1, on_saturated="wait")
        assert time.monotonic() - started < 1.0
        before = site.saturated
        futures = [client.submit(POOL, "echo", {"n": n}, on_saturated="wait") for n in range(3)]
        site.wait(lambda: site.saturated > before + 3)
        hanging.cancel()
        assert [future.result(WITHIN_S)["n"] for future in futures] == [0, 1, 2]


def test_a_thread_and_a_stream_wait_for_a_full_pool(make_site: Callable[..., Any]) -> None:
    site = make_site(max_queue=1)
    with Client(site.clients) as client:
        for work in (
            lambda: client.execute(POOL, "echo", {"n": 1}, on_saturated="wait"),
            lambda: list(client.stream(POOL, "parts", {"n": 1}, on_saturated="wait")),
        ):
            hanging = client.submit(POOL, "hang")
            site.wait(lambda: site.started and site.started[-1][0] == "hang")
            before = site.saturated
            results: list[object] = []
            thread = threading.Thread(target=lambda work=work, results=results: results.append(work()))
            thread.start()
            site.wait(lambda before=before: site.saturated > before + 1)
            hanging.cancel()
            thread.join(WITHIN_S)
            assert results in ([{"n": 1}], [[0, "done"]])
            site.started.clear()


# --- map ---


def numbers(count: int) -> Iterator[dict[str, int]]:
    return ({"n": n} for n in range(count))


@pytest.mark.slow
def test_a_map_of_a_thousand_items_in_order(client: Client) -> None:
    assert [result["n"] for result in client.map(POOL, "echo", numbers(1000))] == list(range(1000))


@pytest.mark.slow
def test_a_map_backs_off_from_a_full_pool_and_loses_nothing(make_site: Callable[..., Any]) -> None:
    site = make_site(max_queue=5, slots=2)
    with Client(site.clients) as client:
        assert [result["n"] for result in client.map(POOL, "echo", numbers(1000))] == list(range(1000))
        assert 0 < site.saturated < 500
        with pytest.raises(PoolSaturated):
            list(client.map(POOL, "echo", numbers(1000), on_saturated="raise"))


def test_a_map_takes_from_an_endless_source_what_it_needs(client: Client) -> None:
    taken: list[int] = []

    def endless() -> Iterator[dict[str, int]]:
        while True:
            taken.append(len(taken))
            yield {"n": taken[-1]}

    results = client.map(POOL, "echo", endless(), window=8)
    assert taken == []
    assert [next(results)["n"] for _ in range(20)] == list(range(20))
    assert len(taken) <= 28
    results.close()


def test_an_error_of_a_map_comes_in_its_place(client: Client) -> None:
    results = client.map(POOL, "echo", [{"n": 0}, {"n": object()}, {"n": 2}])
    assert next(results) == {"n": 0}
    with pytest.raises(EncodeError):
        next(results)
    assert list(results) == []
    with pytest.raises(RemoteError):
        list(client.map(POOL, "fail", numbers(3)))
    with pytest.raises(UnknownCommand):
        next(client.map(POOL, "ecko", numbers(3)))


def test_closing_a_map_stops_what_is_under_way(site: Any, client: Client) -> None:
    started = len(site.started)
    results = client.map(POOL, "maybe", [{}, {"hang": True}, {"hang": True}])
    assert next(results) == {}
    site.wait(lambda: len(site.started) == started + 3)  # what has not left yet is not sent at all
    before = len(site.cancelled)
    results.close()
    site.wait(lambda: len(site.cancelled) == before + 2)


@pytest.mark.slow
def test_a_burst_of_more_than_the_queue_holds_is_refused_one_by_one_and_loses_nobody(maitred: Any) -> None:
    adapter = f"{Path(__file__).parents[1] / 'system' / 'app.py'}:service"
    house = maitred(Pool(adapter, size=2, max_queue=100))
    futures = [house.client.submit("general", "nap", {"seconds": 0.01}) for _ in range(8000)]
    outcomes = Counter(type(future.exception(30)) for future in futures)
    assert set(outcomes) == {type(None), PoolSaturated}
    assert outcomes[type(None)] >= 100
