"""No message is left lying: 10,000 rounds with other sends between, and a naive owner that shows the test can fail.

A round: the owner sends a ping, the peer answers, the owner receives the pong. Meanwhile another task sends unrelated
messages on the same socket, to a peer that never reads, and now and then computes for so long that the pong comes in
the meantime; each of these calls may swallow the pong's announcement.
"""

from __future__ import annotations

import time
from contextlib import suppress
from itertools import count

import pytest
import trio
import zmq

from maitred.transport.drain import Drain
from maitred.transport.errors import WouldBlock
from maitred.transport.frames import send_message
from maitred.transport.pump import Pump
from maitred.transport.sockets import bind, router

ROUNDS = 10_000
STALLS_WITHIN = 2000
STALLS_SOME_TIMES_WITHIN = 40
NO_PROGRESS_S = 0.5
SETTLES_S = 0.05
COMPUTES_EVERY = 60
COMPUTES_S = 0.002
WITHIN_MS = 10_000


@pytest.fixture
def table(context, join, start_echo):
    """A ROUTER, a peer that answers, and one that never reads."""
    bound = router(context, zap_domain="maitred-test", handled=False)
    endpoint = bind(bound, "tcp://127.0.0.1:0")
    start_echo("dealer", endpoint)
    assert bound.poll(WITHIN_MS)
    echo_id, _ = bound.recv_multipart()
    _, deaf_id = join(bound, endpoint)
    return bound, echo_id, deaf_id


def fill_the_queue_of(deaf_id, socket):
    """Send to the peer that never reads until nothing fits any more: then nothing it does announces anything."""
    refused_since = time.monotonic()
    while time.monotonic() - refused_since < SETTLES_S:
        try:
            send_message(socket, [deaf_id, bytes(100_000)])
        except WouldBlock:
            time.sleep(0.001)
        else:
            refused_since = time.monotonic()


async def make_noise(send, deaf_id):
    for number in count():
        if number % COMPUTES_EVERY == 0:
            time.sleep(COMPUTES_S)  # noqa: ASYNC251  # it holds up the loop, as computing would
        with suppress(WouldBlock):  # a refused call swallows announcements all the same
            send([deaf_id, b"noise" * 100])
        await trio.lowlevel.checkpoint()


async def watch(progress, done):
    """Return True when the rounds stopped before their end."""
    while not done.is_set():
        before = progress()
        with trio.move_on_after(NO_PROGRESS_S):
            await done.wait()
        if progress() == before and not done.is_set():
            return True
    return False


async def play(make_owner, table, rounds):
    """Play with an owner; return the rounds played, whether they stalled, and the owner."""
    socket, echo_id, deaf_id = table
    played, done = 0, trio.Event()

    def on_message(_index, _frames):
        nonlocal played
        played += 1
        if played == rounds:
            done.set()
        else:
            owner.send(0, [echo_id, b"ping"])

    owner = make_owner([socket], on_message)
    async with trio.open_nursery() as nursery:
        await nursery.start(owner.run)
        nursery.start_soon(make_noise, lambda frames: owner.send(0, frames), deaf_id)
        owner.send(0, [echo_id, b"ping"])
        stalled = await watch(lambda: played, done)
        waiting = bool(socket.get(zmq.EVENTS) & zmq.POLLIN)
        nursery.cancel_scope.cancel()
    return played, stalled, waiting, owner


class NaiveOwner(Drain):
    """What one writes first: wait for the descriptor, receive until there is nothing."""

    def send(self, index, frames):
        if self._sockets[index].get(zmq.EVENTS) & zmq.POLLOUT:
            send_message(self._sockets[index], frames)

    async def run(self, *, task_status):
        task_status.started()
        while True:
            await trio.lowlevel.wait_readable(self._sockets[0].fileno())
            while True:
                try:
                    self._on_message(0, self._sockets[0].recv_multipart(zmq.NOBLOCK))
                except zmq.Again:
                    break


class ForgetfulPump(Pump):
    """A pump with a planted bug: a send from another task does not look at what it swallowed."""

    def touched(self, index):
        pass

    def _look_again(self, index):
        pass


@pytest.mark.slow
async def test_the_pump_never_stalls(table):
    played, stalled, _, pump = await play(Pump, table, ROUNDS)
    assert (played, stalled) == (ROUNDS, False)
    assert pump.rescues == 0
    assert pump.statistics().messages_out > ROUNDS
    pump.close()


@pytest.mark.slow
async def test_the_naive_owner_stalls(table):
    fill_the_queue_of(table[2], table[0])
    played, stalled, waiting, owner = await play(NaiveOwner, table, STALLS_WITHIN)
    assert (stalled, waiting) == (True, True), f"{played} rounds without a stall: this test can no longer fail"
    owner.close()


@pytest.mark.slow
async def test_a_stall_is_counted_and_ended(table):
    def make(sockets, on_message):
        return ForgetfulPump(sockets, on_message, safety_interval_s=0.02)

    fill_the_queue_of(table[2], table[0])
    _, _, _, pump = await play(make, table, STALLS_SOME_TIMES_WITHIN)
    assert pump.rescues > 0
    pump.close()
