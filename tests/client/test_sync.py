"""The synchronous client against a real broker (a thread with a trio loop) and a hand-made worker (another thread)."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest
import trio
import zmq
from broker_peers import POOL, id128, settings

from maitred.broker.shell import Shell
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
from maitred.protocol import frames
from maitred.protocol import messages as m
from maitred.protocol.body import decode_body, encode_body
from maitred.transport import endpoints, sockets


class Site:
    """A broker with one worker whose commands are: echo, parts, fail, hang."""

    def __init__(self) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.cancelled: list[int] = []
        self._ready = threading.Event()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._broker), threading.Thread(target=self._worker)]
        self._threads[0].start()
        assert self._ready.wait(5)
        self._threads[1].start()

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(5)
        self.context.destroy(linger=0)

    def _broker(self) -> None:
        async def serve() -> None:
            sides = [sockets.router(self.context, zap_domain=name) for name in ("clients", "workers")]
            self.clients, self.workers = (endpoints.bind(side, "tcp://127.0.0.1:0") for side in sides)
            self.shell = Shell(settings(), *sides, lambda _: None)
            async with trio.open_nursery() as nursery:
                await nursery.start(self.shell.run)
                self._ready.set()
                await trio.to_thread.run_sync(self._stop.wait)
                nursery.cancel_scope.cancel()

        trio.run(serve)

    def _worker(self) -> None:
        socket = sockets.dealer(self.context, linger_ms=0)
        endpoints.connect(socket, self.workers)
        commands = [m.CommandInfo(name) for name in ("echo", "parts", "fail", "hang")]
        register = m.Register(id128(1), id128(2), POOL, 64, commands)
        socket.poll(5000, zmq.POLLOUT)
        socket.send_multipart(frames.encode(register))
        while not self._stop.is_set():
            if not socket.poll(50):
                continue
            message, body = frames.to_worker.decode(socket.recv_multipart())
            if isinstance(message, m.WorkerCancel):
                self.cancelled.append(message.id)
            elif isinstance(message, m.Dispatch):
                for answer in self._work(message, body):
                    socket.send_multipart(answer)
        socket.close(linger=0)

    def _work(self, order: m.Dispatch, body: list[bytes]) -> Iterator[list[bytes]]:
        who = (order.client, order.id, order.attempt)
        args = decode_body(body)
        if order.command == "echo":
            yield frames.encode(m.WorkerReply(*who), encode_body(args))
        elif order.command == "parts":
            for number in range(args["n"]):
                yield frames.encode(m.WorkerPart(*who, number), encode_body(number))
            yield frames.encode(m.WorkerReply(*who), encode_body("done"))
        elif order.command == "fail":
            details = {"type": "ValueError", "traceback": "Traceback: in the worker"}
            yield frames.encode(m.WorkerError(*who, "application_error", "ValueError: no"), encode_body(details))


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


@pytest.fixture
def client(site: Site) -> Iterator[Client]:
    with Client(site.clients) as client:
        yield client


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
    with pytest.raises(PayloadTooLarge):
        client.execute(POOL, "echo", {"a": memoryview(bytearray(300 * 1024 * 1024))})
    with pytest.raises(RemoteError, match="in the worker"):
        client.execute(POOL, "fail")
    assert client.execute(POOL, "echo", {"still": "usable"}) == {"still": "usable"}


def test_a_deadline_ends_the_wait_and_the_work(site: Site, client: Client) -> None:
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


def test_a_forked_child_calls_with_a_client_of_its_own(client: Client) -> None:
    client.execute(POOL, "echo")
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if client.execute(POOL, "echo", {"x": 1}, timeout=5) == {"x": 1} else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    client.execute(POOL, "echo")
