"""Whose connection has ended: told soon, told once, and never of the wrong one although descriptors are used again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import trio
import zmq

from maitred.transport.frames import Inbox
from maitred.transport.hangups import Hangups
from maitred.transport.sockets import bind, dealer, router

SAY_HELLO = """
import sys, time, zmq
from maitred.transport.sockets import connect, dealer
socket = dealer(zmq.Context())
connect(socket, sys.argv[1])
socket.send(b"hello")
time.sleep(60)
"""

PATIENCE_S = 5.0


@pytest.fixture(params=["tcp", "ipc"])
def endpoint(request, tmp_path):
    return "tcp://127.0.0.1:0" if request.param == "tcp" else f"ipc://{tmp_path}/s"


async def test_a_process_that_was_killed_is_told_of_within_moments(context, endpoint):
    socket = router(context, zap_domain="maitred-test", handled=False)
    where = bind(socket, endpoint)
    told: list[bytes] = []
    came = trio.Event()

    def hung_up(peer: bytes) -> None:
        told.append(peer)
        came.set()

    hangups: Hangups[bytes] = Hangups(socket, hung_up)
    inbox = Inbox(socket)
    with subprocess.Popen([sys.executable, "-c", SAY_HELLO, where]) as process:  # noqa: ASYNC220
        try:
            assert await trio.to_thread.run_sync(socket.poll, 10_000)
            peer, _ = inbox.receive()
            hangups.note(inbox.descriptor, peer)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hangups.run)
                await trio.testing.wait_all_tasks_blocked()
                assert told == []
                os.kill(process.pid, signal.SIGKILL)
                with trio.fail_after(PATIENCE_S):
                    await came.wait()
                nursery.cancel_scope.cancel()
        finally:
            process.kill()
    assert told == [peer]
    hangups.close()
    hangups.close()


def test_a_descriptor_that_is_used_again_does_not_lose_its_new_owner(context, endpoint):
    """The news of the old connection is there, unread, when the new one is noted under the same number."""
    socket = router(context, zap_domain="maitred-test", handled=False)
    where = bind(socket, endpoint)
    told: list[bytes] = []
    hangups: Hangups[bytes] = Hangups(socket, told.append)
    inbox = Inbox(socket)
    seen: dict[int, bytes] = {}
    expected: list[bytes] = []
    again = 0
    for _ in range(30):
        client = dealer(context)
        client.connect(where)
        client.send(b"hello")
        assert socket.poll(10_000)
        peer, _ = inbox.receive()
        descriptor = inbox.descriptor
        if descriptor in seen:
            again += 1
            expected.append(seen[descriptor])
        seen[descriptor] = peer
        hangups.note(descriptor, peer)
        assert peer not in told
        client.close(0)
        assert hangups._monitor.poll(10_000)  # told, and not read
    assert again > 10, "no number was used again: nothing was tested"
    assert [peer for peer in told if peer in expected] == expected
    hangups.close()


def test_there_is_no_descriptor_within_a_process(context):
    reader, writer = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    reader.bind("inproc://here")
    writer.connect("inproc://here")
    inbox = Inbox(reader)
    assert inbox.descriptor == -1
    writer.send(b"x")
    assert reader.poll(1000)
    inbox.receive()
    assert inbox.descriptor == -1
