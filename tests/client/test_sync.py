"""The synchronous client: calls and streams from threads, over real sockets (see conftest)."""

from __future__ import annotations

import os
import threading
import time

import pytest
from broker_peers import POOL

from maitred.client import Client
from maitred.client.errors import (
    DeadlineExceeded,
    EncodeError,
    PayloadTooLarge,
    RemoteError,
    Unavailable,
    UnknownCommand,
    UnknownPool,
)


def test_it_calls_and_returns(client: Client) -> None:
    assert client.execute(POOL, "echo", {"message": "Hello from Python"}) == {"message": "Hello from Python"}
    assert client.execute(None, "echo") == {}


def test_large_buffers_come_back(client: Client) -> None:
    data = os.urandom(1_000_000)
    assert client.execute(POOL, "echo", {"data": data, "n": [data]}) == {"data": data, "n": [data]}


def test_it_streams_parts_and_then_the_result(client: Client) -> None:
    assert list(client.stream(POOL, "parts", {"n": 200})) == [*range(200), "done"]


def test_two_streams_and_a_call_of_one_thread_do_not_mix(client: Client) -> None:
    first, second = client.stream(POOL, "parts", {"n": 3}), client.stream(POOL, "parts", {"n": 3})
    got = [next(first), next(second), client.execute(POOL, "echo", {"x": 1}), next(first), next(second)]
    assert got == [0, 0, {"x": 1}, 1, 1]
    assert list(first) == list(second) == [2, "done"]


def test_leaving_a_stream_stops_it(client: Client) -> None:
    for part in client.stream(POOL, "parts", {"n": 5}):
        assert part == 0
        break
    assert client.execute(POOL, "echo", {"still": "usable"}) == {"still": "usable"}


def test_each_mistake_has_its_exception_and_the_connection_stays(client: Client) -> None:
    with pytest.raises(UnknownPool) as pool:
        client.execute("generl", "echo")
    assert pool.value.nearest == POOL
    with pytest.raises(UnknownCommand) as command:
        client.execute(POOL, "ecko")
    assert command.value.nearest == "echo"
    with pytest.raises(EncodeError) as encode:
        client.execute(POOL, "echo", {"a": [object()]})
    assert encode.value.path == "a[0]"
    with pytest.raises(PayloadTooLarge) as large:
        client.execute(POOL, "echo", {"a": memoryview(bytearray(5 * 1024 * 1024))})
    assert large.value.limit == 4 * 1024 * 1024
    with pytest.raises(RemoteError, match="in the worker"):
        client.execute(POOL, "fail")
    assert client.execute(POOL, "echo", {"still": "usable"}) == {"still": "usable"}


def test_a_deadline_ends_the_wait_and_the_work(site, client: Client) -> None:
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded) as caught:
        client.execute(POOL, "hang", timeout=0.1)
    assert caught.value.where == "running"
    assert time.monotonic() - started < 1.0
    client.execute(POOL, "echo")
    assert site.cancelled


def test_threads_have_connections_of_their_own(client: Client) -> None:
    results: list[object] = []
    threads = [
        threading.Thread(target=lambda n=n: results.extend(client.execute(POOL, "echo", {"n": n})["n"] for _ in "abc"))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(map(int, map(str, results))) == sorted(list(range(8)) * 3)


def test_nobody_there_is_said_in_time_with_the_address() -> None:
    with Client("tcp://127.0.0.1:1", connect_timeout=0.1) as client:
        started = time.monotonic()
        with pytest.raises(Unavailable, match=r"tcp://127\.0\.0\.1:1 within 0\.1 s"):
            client.execute(POOL, "echo")
        assert time.monotonic() - started < 1.0


def test_tables(client: Client) -> None:
    assert client.pools()[0]["name"] == POOL
    assert client.workers()[0]["state"] in {"idle", "busy"}


def test_options_reach_the_broker(client: Client) -> None:
    assert client.execute(POOL, "options") == {"idempotent": None, "attempts": 3}
    assert client.execute(POOL, "options", retries=4) == {"idempotent": True, "attempts": 5}
    assert client.execute(POOL, "options", idempotent=False) == {"idempotent": False, "attempts": 3}


def test_each_error_comes_within_milliseconds(client: Client) -> None:
    client.execute(POOL, "echo")
    for command, kind in (("ecko", UnknownCommand), ("fail", RemoteError)):
        took: list[float] = []
        for _ in range(5):
            started = time.monotonic()
            with pytest.raises(kind):
                client.execute(POOL, command)
            took.append(time.monotonic() - started)
        assert min(took) < 0.02


def test_a_single_call_needs_no_thread(client: Client) -> None:
    before = threading.enumerate()
    client.execute(POOL, "echo")
    list(client.stream(POOL, "parts", {"n": 3}))
    assert threading.enumerate() == before
