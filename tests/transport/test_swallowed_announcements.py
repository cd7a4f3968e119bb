"""Each way in which a call can swallow a message's announcement, one by one and without chance.

`announce` sends a message and waits, without a call on the receiving socket, until its descriptor is readable. The safety
interval is an hour: nothing but the rules of `Drain` brings these messages in.
"""

from __future__ import annotations

import select

import pytest
import trio
import zmq

from maitred.transport.errors import HostUnreachable
from maitred.transport.pump import Pump

WITHIN_S = 5.0
AN_HOUR_S = 3600.0


def announce(pair, body):
    pair.dealer.send(body)
    assert select.select([pair.router.FD], [], [], WITHIN_S)[0]


def swallow(pump, index, peer):
    pump.send(index, [peer, b"unrelated"])


def swallow_by_a_refused_send(pump, index, _peer):
    with pytest.raises(HostUnreachable):
        pump.send(index, [b"nobody", b"unrelated"])


@pytest.fixture
def started(nursery):
    async def start(sockets, on_message, **options):
        pump = Pump(sockets, on_message, safety_interval_s=AN_HOUR_S, **options)
        await nursery.start(pump.run)
        await trio.testing.wait_all_tasks_blocked()
        return pump

    return start


async def bring_in(arrived):
    with trio.fail_after(WITHIN_S):
        await arrived.wait()


@pytest.mark.parametrize("send", [swallow, swallow_by_a_refused_send])
async def test_by_a_send_of_another_task(pair, started, send):
    arrived = trio.Event()
    pump = await started([pair.router], lambda *_: arrived.set())
    announce(pair, b"x")
    send(pump, 0, pair.peer)
    await bring_in(arrived)
    pump.close()


async def test_by_an_option_read_by_another_task(pair, started):
    arrived = trio.Event()
    pump = await started([pair.router], lambda *_: arrived.set())
    announce(pair, b"x")
    assert pair.router.get(zmq.EVENTS) & zmq.POLLIN
    pump.touched(0)
    await bring_in(arrived)
    pump.close()


@pytest.mark.parametrize("talking", [0, 1])
async def test_by_a_callback_that_answers_on_the_other_socket(make_pair, started, talking):
    pairs, arrived = (make_pair(), make_pair()), trio.Event()
    other = 1 - talking

    def on_message(index, frames):
        if index == other:
            assert frames[-1] == b"late"
            arrived.set()
        else:
            announce(pairs[other], b"late")  # after the other socket was found empty, in one of the two orders
            swallow(pump, other, pairs[other].peer)

    pump = await started([pair.router for pair in pairs], on_message)
    pairs[talking].dealer.send(b"x")
    await bring_in(arrived)
    pump.close()


async def test_by_a_callback_that_answers_on_the_same_socket(pair, started):
    arrived = trio.Event()

    def on_message(_index, frames):
        if frames[-1] == b"late":
            arrived.set()
        else:
            pair.dealer.send(b"late")
            swallow(pump, 0, pair.peer)

    pump = await started([pair.router], on_message)
    pair.dealer.send(b"x")
    await bring_in(arrived)
    pump.close()


async def test_by_what_is_sent_before_sleeping(pair, started):
    arrived, received, once = trio.Event(), [], [b"late"]

    def on_idle():
        if once and received:
            announce(pair, once.pop())
            swallow(pump, 0, pair.peer)

    def on_message(_index, frames):
        received.append(frames)
        if frames[-1] == b"late":
            arrived.set()

    pump = await started([pair.router], on_message, on_idle=on_idle)
    pair.dealer.send(b"x")
    await bring_in(arrived)
    pump.close()


async def test_by_someone_who_pumps_by_hand_and_leaves_some(pair, started):
    seen, arrived = [], trio.Event()

    def on_message(_index, frames):
        seen.append(frames[-1])
        if frames[-1] == b"last":
            arrived.set()

    pump = await started([pair.router], on_message, batch=1)
    for _ in range(20):
        pair.dealer.send(b"x")
    announce(pair, b"last")
    pump.pump()
    assert len(seen) == 1
    await bring_in(arrived)
    pump.close()


async def test_by_a_callback_that_fails_when_pumped_by_hand(pair, started):
    arrived = trio.Event()

    def on_message(_index, frames):
        if frames[-1] == b"bad":
            raise ValueError("bug")
        arrived.set()

    pump = await started([pair.router], on_message)
    pair.dealer.send(b"bad")
    announce(pair, b"good")
    with pytest.raises(ValueError, match="bug"):
        pump.pump()
    await bring_in(arrived)
    pump.close()
