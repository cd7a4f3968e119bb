"""The host over real sockets: messages between trio's turns, trio's own work meanwhile, errors, closing, signals."""

from __future__ import annotations

import os
import signal
import threading
import time
from itertools import pairwise

import pytest
import trio
import zmq

from maitred.transport.errors import HostUnreachable, SocketClosed, WouldBlock
from maitred.transport.host import Host

WITHIN_S = 5.0
WITHIN_MS = 5000
TRIES = 12


def made(make, **options):
    """Make a pump and a program, and run it beside the pump; returns what it returned. Both are made inside trio."""
    host = Host(**options)

    async def main():
        pump, program = make(host)
        try:
            with trio.fail_after(WITHIN_S):
                async with trio.open_nursery() as nursery:
                    await nursery.start(pump.run)
                    found = await program()
                    nursery.cancel_scope.cancel()
                    return found
        finally:
            pump.close()

    return host.run(main)


@pytest.mark.parametrize("busy_poll_s", [0.0, 0.0003])
def test_it_forwards_between_sockets_and_trio_waits_meanwhile(make_pair, busy_poll_s):
    clients, workers = make_pair(), make_pair()

    def make(host):
        def forward(index, frames):
            pump.send(1 - index, [workers.peer if index == 0 else clients.peer, *frames[1:]])

        async def ask():
            for number in range(100):
                clients.dealer.send_multipart([b"%d" % number, b"body"])
                assert await trio.to_thread.run_sync(workers.dealer.poll, WITHIN_MS)
                workers.dealer.send_multipart(workers.dealer.recv_multipart())
                assert await trio.to_thread.run_sync(clients.dealer.poll, WITHIN_MS)
                assert clients.dealer.recv_multipart() == [b"%d" % number, b"body"]
            return "done"

        pump = host.pump([clients.router, workers.router], forward)
        return pump, ask

    assert made(make, busy_poll_s=busy_poll_s) == "done"


def test_what_arrived_before_and_a_burst_are_handed_on_in_order(pair):
    for number in range(50):
        pair.dealer.send(b"%d" % number)
    seen = []

    def make(host):
        def keep(_index, frames):
            seen.append(int(frames[1]))
            if len(seen) == 50:
                all_there.set()

        all_there = trio.Event()  # set outside any task: there is one thread
        return host.pump([pair.router], keep, batch=7), all_there.wait

    made(make)
    assert seen == list(range(50))


def test_a_portion_ends_where_the_handler_says_it_is_full_and_is_told_of(pair):
    for number in range(10):
        pair.dealer.send(b"%d" % number)
    portions = [[]]

    def make(host):
        def count_for_four(_index, frames):
            portions[-1].append(int(frames[1]))
            return 4

        def end():
            pump.send(0, [pair.peer, b"%d" % len(portions[-1])])
            if sum(map(len, portions)) == 10:
                all_there.set()
            portions.append([])

        all_there = trio.Event()
        pump = host.pump([pair.router], count_for_four, batch=8, on_portion=end)
        return pump, all_there.wait

    made(make)
    assert [number for portion in portions for number in portion] == list(range(10))
    assert max(map(len, portions)) == 2


def test_a_flood_leaves_room_for_trios_tasks(make_pair):
    pair = make_pair(hwm=2000)
    total, batch, seen = 1000, 10, []
    for _ in range(total):
        pair.dealer.send(b"flood")

    def make(host):
        received = 0

        def count(_index, _frames):
            nonlocal received
            received += 1

        async def bystander():
            while received < total:
                seen.append(received)
                await trio.lowlevel.checkpoint()

        return host.pump([pair.router], count, batch=batch), bystander

    made(make)
    assert max(after - before for before, after in pairwise(seen)) <= 2 * batch


def test_a_flood_on_one_socket_leaves_room_for_the_other(make_pair):
    loud, quiet = make_pair(hwm=2000), make_pair()
    for _ in range(1000):
        loud.dealer.send(b"flood")
    quiet.dealer.send(b"one")
    for pair in (loud, quiet):
        assert pair.router.poll(5000)  # both have come: it is not decided here who comes first
    order = []

    def make(host):
        def keep(index, _frames):
            order.append(index)
            if len(order) == 1001:
                all_there.set()

        all_there = trio.Event()
        return host.pump([loud.router, quiet.router], keep, batch=10), all_there.wait

    made(make)
    assert order.index(1) <= 20


def test_an_exception_of_a_callback_ends_the_run_with_it(pair):
    pair.dealer.send(b"x")

    def make(host):
        def fail(_index, _frames):
            raise LookupError("of the callback")

        return host.pump([pair.router], fail), trio.sleep_forever

    with pytest.raises(ExceptionGroup) as caught:
        made(make)
    assert caught.group_contains(LookupError, match="of the callback")


def test_an_exception_of_the_program_comes_out_as_it_is():
    async def fail():
        raise LookupError("of the program")

    with pytest.raises(LookupError, match="of the program"):
        Host().run(fail)


def test_after_close_nothing_is_sent_or_received(pair):
    def make(host):
        def close(_index, _frames):
            pump.close()
            pump.close()
            with pytest.raises(SocketClosed):
                pump.send(0, [pair.peer, b"x"])
            closed.set()

        pump, closed = host.pump([pair.router], close), trio.Event()
        pair.dealer.send(b"1")
        pair.dealer.send(b"2")
        return pump, closed.wait

    made(make)


def test_an_unknown_peer_and_a_full_queue_are_told_apart(make_pair):
    pair = make_pair(hwm=4)

    def make(host):
        async def send():
            with pytest.raises(HostUnreachable):
                pump.send(0, [b"nobody", b"x"])
            with pytest.raises(WouldBlock):  # noqa: PT012
                for _ in range(10_000):
                    pump.send(0, [pair.peer, b"x" * 100_000])

        pump = host.pump([pair.router], lambda *_: None)
        return pump, send

    made(make)


def test_a_message_of_too_many_frames_is_told_of_and_the_next_is_whole(pair):
    pair.dealer.send_multipart([b"f"] * 100)
    pair.dealer.send_multipart([b"a", b"b"])
    notices, seen = [], []

    def make(host):
        def keep(_index, frames):
            seen.append(frames[1:])
            done.set()

        done = trio.Event()
        return host.pump([pair.router], keep, on_overlong=lambda _, it: notices.append(it), max_frames=10), done.wait

    made(make)
    assert [(it.first, it.frames) for it in notices] == [(pair.peer, 101)]
    assert seen == [[b"a", b"b"]]


@pytest.mark.slow
def test_timers_threads_and_signals_reach_trio_while_no_message_comes(pair):
    def make(host):
        async def wait():
            await trio.sleep(0.01)
            assert await trio.to_thread.run_sync(lambda: 7) == 7
            with trio.open_signal_receiver(signal.SIGUSR1) as signals:
                threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGUSR1)).start()
                return await anext(signals)

        return host.pump([pair.router], lambda *_: None), wait

    assert made(make) == signal.SIGUSR1


def test_a_cancelled_run_keeps_what_it_did_not_hand_on(pair):
    host, seen = Host(), []

    async def main():
        arrived = trio.Event()

        def keep(_index, frames):
            seen.append(frames[1])
            arrived.set()

        pump = host.pump([pair.router], keep)
        with trio.move_on_after(0.01):
            await pump.run()
        pair.dealer.send(b"between")
        assert await trio.to_thread.run_sync(pair.router.poll, WITHIN_MS)
        assert seen == []
        async with trio.open_nursery() as nursery:
            await nursery.start(pump.run)
            with trio.fail_after(WITHIN_S):
                await arrived.wait()
            pump.close()

    host.run(main)
    assert seen == [b"between"]


@pytest.mark.slow
def test_it_looks_awhile_where_messages_come_soon_and_sleeps_where_none_does(make_pair, start_echo):
    """Where somebody else computes it goes to sleep, as it should: then it is tried again."""
    for _ in range(TRIES):
        awake, idle_cpu_s, judged = _looks_for_messages(make_pair(), start_echo)
        assert idle_cpu_s < 0.1
        if awake > 20:  # of 200 answers that came within 10 ms, each after a look that found nothing
            return
    assert not judged, "answers came soon, nobody else wanted the core, and it slept"


def _looks_for_messages(pair, start_echo):
    looks, hosts, late = [], [], []

    def make(host):
        seen, asked_at = 0, time.perf_counter()

        def ask_again(_index, _frames):
            nonlocal seen, asked_at
            seen += 1
            now = time.perf_counter()
            late.append(now - asked_at > 0.01)
            asked_at = now
            if seen < 200:
                pump.send(0, [echo, b"again"])
            else:
                asked.set()

        def count(began):
            looks.append(began)
            return look(began)

        async def program():
            pump.send(0, [echo, b"first"])
            await asked.wait()
            awake = len(looks)
            before = time.process_time()
            await trio.sleep(0.2)
            return awake, time.process_time() - before

        hosts.append(host)
        look, host._look_awhile = host._look_awhile, count
        asked, pump = trio.Event(), host.pump([pair.router], ask_again)
        return pump, program

    start_echo("dealer", pair.endpoint)
    assert pair.router.poll(WITHIN_MS)
    echo = pair.router.recv_multipart()[0]
    awake, idle_cpu_s = made(make, busy_poll_s=0.01)
    return awake, idle_cpu_s, sum(late) < 10 and not hosts[0]._waits_asleep


def test_a_callbacks_exception_is_not_lost_in_a_cancelled_run(pair):
    host = Host()
    pair.dealer.send(b"x")

    async def main():
        with trio.CancelScope() as scope:

            def fail(_index, _frames):
                scope.cancel()
                raise LookupError("of the callback")

            pump = host.pump([pair.router], fail)
            try:
                await pump.run()
            finally:
                pump.close()

    with pytest.raises(LookupError, match="of the callback"):
        host.run(main)


def test_a_callbacks_own_zmq_error_is_not_taken_for_an_empty_queue(pair):
    pair.dealer.send(b"x")

    def make(host):
        def fail(_index, _frames):
            raise zmq.Again

        return host.pump([pair.router], fail), trio.sleep_forever

    with pytest.raises(ExceptionGroup) as caught:
        made(make)
    assert caught.group_contains(zmq.Again)


def test_it_runs_once_at_a_time_and_not_after_its_end(pair):
    host = Host()

    async def main():
        pump = host.pump([pair.router], lambda *_: None)
        async with trio.open_nursery() as nursery:
            await nursery.start(pump.run)
            with pytest.raises(RuntimeError, match="already"):
                await pump.run()
            pump.close()
        await pump.run()

    host.run(main)
