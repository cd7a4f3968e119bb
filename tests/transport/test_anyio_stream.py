"""The DEALER without a thread under trio and under asyncio, against libzmq's ROUTER."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import anyio
import pytest
import zmq

from maitred.transport.anyio_stream import AnyioStream
from maitred.transport.endpoints import bind
from maitred.transport.errors import SocketClosed, WouldBlock
from maitred.transport.sockets import router

WITHIN_S = 5.0

pytestmark = pytest.mark.parametrize("backend", ["trio", "asyncio"])


def bound(context: zmq.Context[Any], endpoint: str = "tcp://127.0.0.1:0", **options: int) -> tuple[Any, str]:
    socket = router(context, zap_domain="maitred-test", handled=False, linger_ms=0)
    for name, value in options.items():
        socket.setsockopt(getattr(zmq, name), value)
    return socket, bind(socket, endpoint)


def plain(message: list[Any]) -> list[bytes]:
    return [bytes(memoryview(frame)) for frame in message]


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(WITHIN_S):
        while not condition():  # noqa: ASYNC110 - only time will tell
            await anyio.sleep(0.001)


async def received(socket: Any) -> list[bytes]:
    await until(lambda: socket.poll(0))
    return socket.recv_multipart()


def test_messages_come_and_go(context, backend):
    async def main() -> None:
        socket, endpoint = bound(context)
        portions: list[int] = []
        came: list[list[bytes]] = []
        stream = AnyioStream(endpoint, on_portion=lambda: portions.append(len(came)))
        async with anyio.create_task_group() as tasks:
            await tasks.start(stream.receive_loop, lambda message: came.append(plain(message)))
            await stream.send([b"hello", bytes(100_000)])
            peer, *rest = await received(socket)
            assert rest == [b"hello", bytes(100_000)]
            for number in range(200):
                socket.send_multipart([peer, b"%d" % number])
            await until(lambda: len(came) == 200)
            assert came == [[b"%d" % number] for number in range(200)]
            before = len(portions)
            stream.kick()
            await until(lambda: len(portions) > before)
            stream.close()
        with pytest.raises(SocketClosed):
            stream.send_nowait([b"x"])

    anyio.run(main, backend=backend)


def test_a_slow_reader_is_waited_for_while_messages_still_come(context, backend):
    async def main() -> None:
        socket, endpoint = bound(context, RCVHWM=2)
        came: list[Any] = []
        stream = AnyioStream(endpoint)
        async with anyio.create_task_group() as tasks:
            await tasks.start(stream.receive_loop, came.append)
            await stream.send([b"hello"])
            peer, _ = await received(socket)
            count = 0
            with contextlib.suppress(WouldBlock):
                while count < 10_000:
                    stream.send_nowait([b"%d" % count, bytes(100_000)])
                    count += 1
            with pytest.raises(WouldBlock):
                await stream.send([b"not yet"], timeout_s=0.05)
            socket.send_multipart([peer, b"meanwhile"])
            await until(lambda: came)
            tasks.start_soon(stream.send, [b"last"])
            got: list[bytes] = []
            while not got or got[-1] != b"last":
                got.append((await received(socket))[1])
            assert count < 10_000
            assert got == [*(b"%d" % number for number in range(count)), b"last"]
            stream.close()

    anyio.run(main, backend=backend)


def test_the_next_broker_is_found_and_a_send_waits_for_it(context, backend):
    async def main() -> None:
        socket, endpoint = bound(context)
        came: list[Any] = []
        stream = AnyioStream(endpoint)
        async with anyio.create_task_group() as tasks:
            await tasks.start(stream.receive_loop, came.append)
            for turn in range(3):
                with anyio.fail_after(WITHIN_S):
                    await stream.send([b"%d" % turn])
                assert (await received(socket))[1:] == [b"%d" % turn]
                socket.close(0)
                await until(lambda: not stream._dealer.connected)
                socket = router(context, zap_domain="maitred-test", handled=False, linger_ms=0)
                give_up = time.monotonic() + WITHIN_S
                while True:
                    try:
                        bind(socket, endpoint)
                        break
                    except OSError:
                        assert time.monotonic() < give_up
                        await anyio.sleep(0.001)
            stream.close()

    anyio.run(main, backend=backend)


def test_it_is_closed_while_it_waits_for_a_broker(context, backend):
    async def main() -> None:
        stream = AnyioStream("tcp://127.0.0.1:9")
        with anyio.fail_after(WITHIN_S):
            async with anyio.create_task_group() as tasks:
                await tasks.start(stream.receive_loop, print)
                await anyio.sleep(0.02)
                stream.close()
                stream.close()

    anyio.run(main, backend=backend)


def test_a_cancelled_loop_goes_on_where_it_was(context, backend):
    async def main() -> None:
        socket, endpoint = bound(context)
        came: list[Any] = []
        stream = AnyioStream(endpoint)
        peer = b""
        for turn in range(3):
            async with anyio.create_task_group() as tasks:
                await tasks.start(stream.receive_loop, lambda message: came.append(plain(message)))
                with pytest.raises(RuntimeError, match="already"):
                    await stream.receive_loop(print)
                if not peer:
                    await stream.send([b"hello"])
                    peer = (await received(socket))[0]
                socket.send_multipart([peer, b"%d" % turn])
                await until(lambda turn=turn: len(came) == turn + 1)
                tasks.cancel_scope.cancel()
        assert came == [[b"0"], [b"1"], [b"2"]]
        stream.close()

    anyio.run(main, backend=backend)
