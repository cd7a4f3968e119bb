"""A DEALER under anyio, on trio and on asyncio: no stall, pressure that waits, cancelling and closing."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from maitred.transport.anyio_dealer import AnyioDealer
from maitred.transport.errors import SocketClosed, WouldBlock
from maitred.transport.sockets import bind, connect, dealer, router

WITHIN_S = 5.0
WITHIN_MS = 5000

both = pytest.mark.parametrize("backend", ["trio", "asyncio"])


@pytest.fixture
def answered(context, start_echo):
    """A DEALER connected to a ROUTER that sends back whatever comes, except noise."""
    endpoint = start_echo("router", "tcp://127.0.0.1:0").stdout.readline().decode().strip()
    socket = dealer(context)
    connect(socket, endpoint)
    return socket


MAX_NOISES = 20
"""Between two answers: there has to be room for the next question, below the high-water mark of 64."""


def play(backend, socket, rounds):
    async def main():
        owner, played, noises, done = AnyioDealer(socket), 0, 0, anyio.Event()

        def on_message(_frames):
            nonlocal played, noises
            played, noises = played + 1, 0
            done.set() if played == rounds else owner.send_nowait([b"ping"])

        async def make_noise():
            nonlocal noises
            while not done.is_set():
                if noises < MAX_NOISES:
                    noises += 1
                    owner.send_nowait([b"noise"])
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as tasks:
            await tasks.start(owner.receive_loop, on_message)
            await owner.send([b"ping"])  # connected from here on
            tasks.start_soon(make_noise)
            with anyio.fail_after(10 * WITHIN_S):
                await done.wait()
            statistics = owner.statistics()
            owner.close()
        assert owner.rescues == 0
        assert statistics.messages_in == rounds

    anyio.run(main, backend=backend)


@both
@pytest.mark.slow
def test_no_message_is_left_lying(answered, backend):
    play(backend, answered, 3000)


@both
def test_messages_come_and_go(answered, backend):
    play(backend, answered, 20)


@both
def test_a_send_waits_for_a_connection(context, backend):
    bound = router(context, zap_domain="maitred-test", handled=False)
    endpoint = bind(bound, "tcp://127.0.0.1:0")

    async def main():
        owner = AnyioDealer(dealer_socket := dealer(context))
        async with anyio.create_task_group() as tasks:
            await tasks.start(owner.receive_loop, lambda _: None)
            with pytest.raises(WouldBlock):
                owner.send_nowait([b"x"])
            connect(dealer_socket, endpoint)
            await owner.send([b"x"], timeout_s=WITHIN_S)
            owner.close()

    anyio.run(main, backend=backend)
    assert bound.poll(WITHIN_MS)


@both
@pytest.mark.parametrize("receiving", [True, False])
def test_a_send_waits_for_room(make_pair, backend, receiving):
    pair = make_pair(hwm=4)
    body, sent = b"x" * 100_000, 0

    async def main():
        nonlocal sent
        owner = AnyioDealer(pair.dealer)
        async with anyio.create_task_group() as tasks:
            if receiving:
                await tasks.start(owner.receive_loop, lambda _: None)
            with pytest.raises(WouldBlock):  # noqa: PT012
                while True:
                    owner.send_nowait([body])
                    sent += 1
            for _ in range(sent):
                pair.router.recv_multipart()
            await owner.send([b"last"], timeout_s=WITHIN_S)
            owner.close()

    anyio.run(main, backend=backend)
    assert pair.router.poll(WITHIN_MS)
    assert pair.router.recv_multipart()[1] == b"last"


@both
def test_a_send_that_finds_no_room_says_so_in_time(context, backend):
    async def main():
        owner = AnyioDealer(dealer(context))
        with pytest.raises(WouldBlock, match=r"0\.01 s"):
            await owner.send([b"x"], timeout_s=0.01)
        owner.close()

    anyio.run(main, backend=backend)


@both
def test_a_waiting_send_can_be_cancelled_and_then_sent_nothing(context, backend):
    bound = router(context, zap_domain="maitred-test", handled=False)
    endpoint = bind(bound, "tcp://127.0.0.1:0")

    async def main():
        socket = dealer(context)
        owner = AnyioDealer(socket)
        with anyio.move_on_after(0.01) as scope:
            await owner.send([b"cancelled"])
        assert scope.cancelled_caught
        connect(socket, endpoint)
        await owner.send([b"sent"], timeout_s=WITHIN_S)
        owner.close()

    anyio.run(main, backend=backend)
    assert bound.poll(WITHIN_MS)
    assert bound.recv_multipart()[1:] == [b"sent"]


@both
def test_a_send_under_a_cancelled_scope_sends_nothing(pair, backend):
    async def main():
        owner = AnyioDealer(pair.dealer)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await owner.send([b"cancelled"])
        owner.send_nowait([b"sent"])
        owner.close()

    anyio.run(main, backend=backend)
    assert pair.router.poll(WITHIN_MS)
    assert pair.router.recv_multipart()[1:] == [b"sent"]


@both
def test_closing_ends_the_receiving_and_waiting_sends(context, backend):
    async def main():
        owner, ended = AnyioDealer(dealer(context), safety_interval_s=3600), []

        async def send():
            with pytest.raises(SocketClosed):
                await owner.send([b"x"])
            ended.append("send")

        with anyio.fail_after(WITHIN_S):
            async with anyio.create_task_group() as tasks:
                await tasks.start(owner.receive_loop, lambda _: None)
                tasks.start_soon(send)
                await anyio.wait_all_tasks_blocked()
                with pytest.raises(RuntimeError, match="another task"):
                    await owner.receive_loop(lambda _: None)
                owner.close()
                owner.close()
        assert ended == ["send"]

    anyio.run(main, backend=backend)


@both
def test_an_exception_of_the_callback_ends_the_loop_with_it(pair, backend):
    def fail(_frames):
        raise ValueError("bug")

    async def main():
        owner = AnyioDealer(pair.dealer)
        pair.router.send_multipart([pair.peer, b"x"])
        with anyio.fail_after(WITHIN_S), pytest.raises(ValueError, match="bug"):
            await owner.receive_loop(fail)
        owner.close()

    anyio.run(main, backend=backend)


@both
@pytest.mark.slow
def test_senders_that_wait_for_a_connection_do_not_wake_each_other_for_ever(context, backend):
    async def main():
        owner = AnyioDealer(dealer(context))

        async def send():
            with pytest.raises(WouldBlock):
                await owner.send([b"x"], timeout_s=0.3)

        async with anyio.create_task_group() as tasks:
            await tasks.start(owner.receive_loop, lambda _: None)
            async with anyio.create_task_group() as senders:
                for _ in range(3):
                    senders.start_soon(send)
            assert owner.statistics().wakeups < 100
            owner.close()

    anyio.run(main, backend=backend)
