"""The pump over real sockets: whole messages, fairness, pressure, errors, cancelling and closing."""

from __future__ import annotations

import os
from itertools import pairwise

import pytest
import trio
import trio.testing
import zmq

from maitred.transport.errors import HostUnreachable, SocketClosed, WouldBlock
from maitred.transport.pump import Pump
from maitred.transport.readiness import Readiness

WITHIN_S = 5.0
WITHIN_MS = 5000


class Inbox:
    """Keeps what the pump hands on, and lets a test wait for it."""

    def __init__(self) -> None:
        self.messages: list[tuple[int, list[bytes]]] = []
        self._changed = trio.Event()

    def __call__(self, index, frames):
        self.messages.append((index, frames))
        self._changed.set()
        self._changed = trio.Event()

    async def wait(self, count):
        with trio.fail_after(WITHIN_S):
            while len(self.messages) < count:
                await self._changed.wait()
        return self.messages


async def test_it_hands_on_what_arrives_and_what_was_there_before(pair, nursery):
    pair.dealer.send(b"before")
    pump = Pump([pair.router], inbox := Inbox())
    await nursery.start(pump.run)
    pair.dealer.send_multipart([b"after", b"body"])
    assert await inbox.wait(2) == [(0, [pair.peer, b"before"]), (0, [pair.peer, b"after", b"body"])]
    pump.close()


async def test_a_message_handed_on_can_be_forwarded_to_another_socket(make_pair, nursery):
    clients, workers = make_pair(), make_pair()

    def forward(index, frames):
        pump.send(1 - index, [workers.peer if index == 0 else clients.peer, *frames[1:]])

    pump = Pump([clients.router, workers.router], forward)
    await nursery.start(pump.run)
    for number in range(100):
        clients.dealer.send(b"%d" % number)
        assert await trio.to_thread.run_sync(workers.dealer.poll, WITHIN_MS)
        workers.dealer.send(workers.dealer.recv())
        assert await trio.to_thread.run_sync(clients.dealer.poll, WITHIN_MS)
        assert clients.dealer.recv() == b"%d" % number
    assert pump.rescues == 0
    assert pump.statistics().messages_in == pump.statistics().messages_out == 200
    pump.close()


async def test_an_unknown_peer_and_a_full_queue_are_told_apart(make_pair):
    pair = make_pair(hwm=4)
    pump = Pump([pair.router], Inbox())
    with pytest.raises(HostUnreachable):
        pump.send(0, [b"nobody", b"x"])
    with pytest.raises(WouldBlock):  # noqa: PT012
        for _ in range(10_000):
            pump.send(0, [pair.peer, b"x" * 100_000])
    with pytest.raises(HostUnreachable):
        pump.send(0, [b"nobody", b"x"])
    pump.close()


async def test_a_flood_leaves_room_for_other_tasks(make_pair, nursery):
    pair = make_pair(hwm=2000)
    total, batch, seen = 1000, 10, []
    for _ in range(total):
        pair.dealer.send(b"flood")
    received = 0
    done = trio.Event()

    def count(index, frames):
        nonlocal received
        received += 1
        if received == total:
            done.set()

    async def bystander():
        while not done.is_set():
            seen.append(received)
            await trio.lowlevel.checkpoint()

    pump = Pump([pair.router], count, batch=batch)
    nursery.start_soon(bystander)
    await nursery.start(pump.run)
    with trio.fail_after(WITHIN_S):
        await done.wait()
    # Twice, as trio shuffles the tasks of a turn: the pump may come last in one and first in the next.
    assert max(after - before for before, after in pairwise(seen)) <= 2 * batch
    assert pump.statistics().batches_full > 10
    pump.close()


async def test_a_flood_on_one_socket_leaves_room_for_the_other(make_pair):
    loud, quiet = make_pair(hwm=500), make_pair()
    for _ in range(200):
        loud.dealer.send(b"flood")
    quiet.dealer.send(b"hello")
    assert loud.router.poll(WITHIN_MS)
    assert quiet.router.poll(WITHIN_MS)
    pump = Pump([loud.router, quiet.router], inbox := Inbox(), batch=4)
    assert pump.pump() is True
    assert (1, [quiet.peer, b"hello"]) in inbox.messages
    assert len(inbox.messages) == 5
    pump.close()


async def test_a_message_of_too_many_frames_is_named_and_the_next_one_whole(pair, nursery):
    refused = []
    pump = Pump(
        [pair.router],
        inbox := Inbox(),
        max_frames=4,
        on_overlong=lambda index, notice: refused.append((index, notice.first, notice.frames)),
    )
    await nursery.start(pump.run)
    pair.dealer.send_multipart([b"x"] * 20_000)
    pair.dealer.send(b"next")
    assert await inbox.wait(1) == [(0, [pair.peer, b"next"])]
    assert refused == [(0, pair.peer, 20_001)]
    assert pump.statistics().too_many_frames == 1
    pump.close()


async def test_on_idle_runs_before_each_sleep_and_may_send(pair, nursery):
    outbox = []
    pump = Pump([pair.router], lambda _, frames: outbox.append(frames), on_idle=lambda: flush())

    def flush():
        while outbox:
            pump.send(0, outbox.pop())

    await nursery.start(pump.run)
    for _ in range(50):
        pair.dealer.send(b"ping")
        assert await trio.to_thread.run_sync(pair.dealer.poll, WITHIN_MS)
        assert pair.dealer.recv() == b"ping"
    assert pump.rescues == 0
    pump.close()


async def test_a_portion_ends_where_the_handler_says_it_is_full_and_is_told_of(pair, nursery):
    for number in range(10):
        pair.dealer.send(b"%d" % number)
    await trio.to_thread.run_sync(pair.router.poll, WITHIN_MS)
    portions = [[]]
    all_there = trio.Event()

    def count_for_four(_index, frames):
        portions[-1].append(int(frames[1]))
        return 4

    def end():
        pump.send(0, [pair.peer, b"%d" % len(portions[-1])])
        if sum(map(len, portions)) == 10:
            all_there.set()
        portions.append([])

    pump = Pump([pair.router], count_for_four, batch=8, on_portion=end)
    await nursery.start(pump.run)
    with trio.fail_after(WITHIN_S):
        await all_there.wait()
    assert [number for portion in portions for number in portion] == list(range(10))
    assert max(map(len, portions)) == 2
    assert pump.rescues == 0
    pump.close()


async def test_a_kick_has_a_portion_end_though_nothing_came(pair, nursery):
    ended = trio.Event()
    pump = Pump([pair.router], Inbox(), on_portion=lambda: ended.set())
    await nursery.start(pump.run)
    await trio.testing.wait_all_tasks_blocked()
    ended = trio.Event()
    pump.kick()
    with trio.fail_after(WITHIN_S):
        await ended.wait()
    pump.close()


async def test_a_kick_wakes_the_owner_once(pair, nursery):
    idle = trio.Event()
    pump = Pump([pair.router], Inbox(), on_idle=lambda: idle.set())
    await nursery.start(pump.run)
    await trio.testing.wait_all_tasks_blocked()
    before, idle = pump.statistics().wakeups, trio.Event()
    pump.kick()
    pump.kick()
    with trio.fail_after(WITHIN_S):
        await idle.wait()
    await trio.testing.wait_all_tasks_blocked()
    assert pump.statistics().wakeups == before + 1
    pump.close()


async def test_anyone_may_pump_by_hand(pair):
    pump = Pump([pair.router], inbox := Inbox())
    pair.dealer.send(b"x")
    assert pair.router.poll(WITHIN_MS)
    assert pump.pump() is False
    assert inbox.messages == [(0, [pair.peer, b"x"])]
    pump.close()
    assert pump.pump() is False


async def test_pumping_from_within_a_callback_is_a_bug(pair):
    pump = Pump([pair.router], lambda _index, _frames: pump.pump())
    pair.dealer.send(b"x")
    assert pair.router.poll(WITHIN_MS)
    with pytest.raises(RuntimeError, match="from within"):
        pump.pump()
    pump.close()


@pytest.mark.parametrize("error", [ValueError, zmq.Again])
async def test_an_exception_of_the_callback_ends_the_run_with_it(pair, error):
    def fail(_index, _frames):
        raise error("bug")

    pump = Pump([pair.router], fail)
    pair.dealer.send(b"x")
    with trio.fail_after(WITHIN_S), pytest.raises(error):
        await pump.run()
    pump.close()


async def test_cancelled_it_loses_nothing_and_runs_again(pair, nursery):
    pump = Pump([pair.router], inbox := Inbox())
    async with trio.open_nursery() as first:
        await first.start(pump.run)
        await trio.testing.wait_all_tasks_blocked()
        first.cancel_scope.cancel()
    pair.dealer.send(b"while nobody runs")
    await nursery.start(pump.run)
    assert await inbox.wait(1) == [(0, [pair.peer, b"while nobody runs"])]
    pump.close()


async def test_closing_ends_the_run(pair, nursery):
    pump = Pump([pair.router], Inbox(), safety_interval_s=3600)  # by itself, not at the next look
    await nursery.start(pump.run)
    await trio.testing.wait_all_tasks_blocked()
    pump.close()
    pump.close()
    assert pump.closed
    assert pair.router.closed
    with pytest.raises(SocketClosed):
        pump.send(0, [pair.peer, b"x"])
    pump.kick()
    pump.touched(0)  # the nursery's end proves that run() returned


@pytest.mark.parametrize("where", ["on_message", "on_idle"])
async def test_closing_from_within_a_callback(make_pair, where):
    pair, other = make_pair(), make_pair()

    def close(*_):
        if received or where == "on_message":
            pump.close()

    received = []
    pump = Pump(
        [pair.router, other.router],
        close if where == "on_message" else lambda *message: received.append(message),
        on_idle=close if where == "on_idle" else None,
    )
    for _ in range(3):
        pair.dealer.send(b"x")
        other.dealer.send(b"x")
    with trio.fail_after(WITHIN_S):
        await pump.run()
    assert pump.closed


async def test_two_runs_at_once_are_refused(pair, nursery):
    pump = Pump([pair.router], Inbox(), safety_interval_s=3600)
    await nursery.start(pump.run)
    await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(RuntimeError, match="another task"):
        await pump.run()
    pump.close()


def test_no_descriptor_is_left():
    before = os.listdir("/dev/fd")
    readiness = Readiness([])
    assert len(os.listdir("/dev/fd")) == len(before) + 3
    readiness.close()
    assert os.listdir("/dev/fd") == before


def test_nothing_to_own_or_to_take_is_refused(pair):
    with pytest.raises(ValueError, match="at least one socket"):
        Pump([], lambda *_: None)
    with pytest.raises(ValueError, match="at least one socket"):
        Pump([pair.router], lambda *_: None, batch=0)


def test_readiness_is_readable_from_a_kick_until_it_is_cleared():
    readiness = Readiness([])
    assert not readiness.is_readable()
    readiness.kick()
    readiness.kick()
    assert readiness.is_readable()
    readiness.clear()
    readiness.clear()
    assert not readiness.is_readable()
    readiness.kick()
    assert readiness.is_readable()
    readiness.close()
    readiness.close()
    readiness.kick()
