"""Who is connected, and whose connection has ended: told soon, told once, and never of the wrong one although descriptors
are used again."""

from __future__ import annotations

import os
import signal
import socket as sockets
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
import trio
import zmq

from maitred.broker.reopening import reopen
from maitred.transport.connections import LOCAL_ADDRESS, Connections
from maitred.transport.frames import Inbox
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

    hangups: Connections[bytes] = Connections(socket, hung_up)
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
    hangups: Connections[bytes] = Connections(socket, told.append)
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
    assert sorted(peer for peer in told if peer in expected) == sorted(expected)
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


def test_all_that_connect_are_counted_by_address_also_those_that_are_gone_at_once(context, endpoint):
    socket = router(context, zap_domain="maitred-test", handled=False)
    connections: Connections[bytes] = Connections(socket)
    where = bind(socket, endpoint)
    address = LOCAL_ADDRESS if where.startswith("ipc") else "127.0.0.1"
    stay = [raw(where) for _ in range(5)]
    until(connections, lambda: len(connections) == 5)
    for _ in range(200):
        raw(where).close()
    until(connections, lambda: connections.handshakes["broken_off"] == 200)
    until(connections, lambda: len(connections) == 5)
    assert dict(connections.addresses()) == {address: 5}
    assert connections.at(address) == 5
    assert all(connection.is_open() for connection in connections)
    for one in stay:
        one.close()
    until(connections, lambda: not len(connections))
    assert dict(connections.addresses()) == {}
    connections.close()


def test_who_is_cut_off_is_told_of_and_only_he(context, endpoint):
    socket = router(context, zap_domain="maitred-test", handled=False)
    told: list[bytes] = []
    connections: Connections[bytes] = Connections(socket, told.append)
    where = bind(socket, endpoint)
    inbox = Inbox(socket)
    peers: list[bytes] = []
    for text in (b"first", b"second"):
        client = dealer(context, linger_ms=0)
        client.setsockopt(zmq.RECONNECT_IVL, -1)
        client.connect(where)
        client.send(text)
        assert socket.poll(10_000)
        peer, _ = inbox.receive()
        connections.note(inbox.descriptor, peer)
        peers.append(peer)
    first, second = connections
    assert first.peer == peers[0]
    assert second.number > first.number
    assert first.cut()
    until(connections, lambda: told == [peers[0]])
    until(connections, lambda: not first.is_open())  # libzmq tells of it before it closes the descriptor
    assert not first.cut()
    assert second.is_open()
    assert len(connections) == 1
    connections.close()


def test_what_has_been_received_is_known_without_reading_it(context, endpoint):
    socket = router(context, zap_domain="maitred-test", handled=False)
    connections: Connections[bytes] = Connections(socket)
    where = bind(socket, endpoint)
    sender = dealer(context, linger_ms=0)
    sender.connect(where)
    sender.send(bytes(64 * 65_536))
    until(connections, lambda: len(connections) == 1)
    (connection,) = connections
    if where.startswith("tcp") and sys.platform == "linux":
        until(connections, lambda: connection.received() > 64 * 65_536)
    assert connection.received() >= 0
    sender.close()
    connections.close()


def test_a_number_that_is_accepted_again_without_a_word_is_the_new_ones(context):
    """As after the end of a listener: libzmq tells nothing of its connections."""
    socket = router(context, zap_domain="maitred-test", handled=False)
    told: list[bytes] = []
    connections: Connections[bytes] = Connections(socket, told.append)
    read, write = os.pipe()
    connections._happened(int(zmq.EVENT_ACCEPTED), read)
    connections.note(read, b"first")
    connections._happened(int(zmq.EVENT_ACCEPTED), read)
    assert told == [b"first"]
    assert len(connections) == sum(connections.addresses().values()) == 1
    connections._happened(int(zmq.EVENT_DISCONNECTED), read)
    connections._happened(int(zmq.EVENT_DISCONNECTED), read)
    assert told == [b"first"]
    assert dict(connections.addresses()) == {}
    os.close(read)
    os.close(write)
    connections.close()


async def test_a_listener_that_is_opened_anew_takes_its_connections_along_and_no_others(context, tmp_path):
    socket = router(context, zap_domain="maitred-test", handled=False)
    told: list[bytes] = []
    connections: Connections[bytes] = Connections(socket, told.append)
    endpoints = [bind(socket, f"ipc://{tmp_path}/s"), bind(socket, "tcp://127.0.0.1:0")]
    inbox, peers, clients = Inbox(socket), [], []
    for where in endpoints:
        client = dealer(context, linger_ms=0)
        client.connect(where)
        clients.append(client)
        client.send(b"hello")
        assert socket.poll(10_000)
        peer, _ = inbox.receive()
        connections.note(inbox.descriptor, peer)
        peers.append(peer)
    for number, where in enumerate(endpoints):
        with trio.fail_after(PATIENCE_S):
            await reopen(socket, connections, where)
            while told != peers[: number + 1]:
                await trio.sleep(0.001)
                socket.poll(0)  # as its owner does: libzmq asks that thread, too, before it closes a connection
                connections.audit(10)
        clients[number].send(b"again")  # once it has connected anew, by itself
        assert socket.poll(10_000)
        again, text = inbox.receive()
        assert text == b"again"
        assert again not in peers
    until(connections, lambda: len(connections) == 2)
    connections.close()


def raw(where: str) -> sockets.socket:
    """A connection that says nothing."""
    if where.startswith("ipc://"):
        one = sockets.socket(sockets.AF_UNIX)
        one.connect(where.removeprefix("ipc://"))
        return one
    return sockets.create_connection(("127.0.0.1", int(where.rpartition(":")[2])))


def until(connections: Connections[bytes], condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_at, f"{len(connections)} connections, {connections.handshakes}"
        connections._monitor.poll(5)
        connections.read()
