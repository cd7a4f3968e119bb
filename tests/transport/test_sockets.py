"""The options that the design rests on are really set, and what they are for works."""

from __future__ import annotations

import socket as stdlib_socket
import subprocess
import sys

import pytest
import zmq

from maitred.transport import sockets


def test_a_router_is_mandatory_bounded_and_impatient(context):
    made = sockets.router(
        context, zap_domain="maitred-clients", handled=False, hwm=16, max_frame_bytes=1000, linger_ms=1
    )
    got = {name: made.get(getattr(zmq, name)) for name in ("SNDHWM", "RCVHWM", "LINGER", "MAXMSGSIZE", "ZAP_DOMAIN")}
    assert got == {"SNDHWM": 16, "RCVHWM": 16, "LINGER": 1, "MAXMSGSIZE": 1000, "ZAP_DOMAIN": b"maitred-clients"}
    assert made.get(zmq.HANDSHAKE_IVL) == sockets.HANDSHAKE_TIMEOUT_MS
    assert made.get(zmq.HEARTBEAT_IVL) == 0  # who runs a function does not answer, and must not be cut off
    asking = sockets.dealer(context)
    assert asking.get(zmq.HEARTBEAT_TTL) == asking.get(zmq.HEARTBEAT_TIMEOUT) == sockets.HEARTBEAT_TIMEOUT_MS
    with pytest.raises(zmq.ZMQError):  # EHOSTUNREACH, rather than silence
        made.send_multipart([b"nobody", b"x"], zmq.NOBLOCK)


def test_a_router_needs_a_zap_domain(context):
    with pytest.raises(ValueError, match="ZAP domain"):
        sockets.router(context, zap_domain="")


def test_each_dealer_draws_its_own_pauses(context):
    made = [sockets.dealer(context) for _ in range(12)]
    first = {socket.get(zmq.RECONNECT_IVL) for socket in made}
    limit = {socket.get(zmq.RECONNECT_IVL_MAX) for socket in made}
    assert len(first) > 1
    assert len(limit) > 1
    assert min(limit) >= sockets.RECONNECT_LIMIT_MS[0] > sockets.RECONNECT_FIRST_MS[1] >= max(first)
    assert all(socket.get(zmq.IMMEDIATE) for socket in made)
    assert made[0].get(zmq.ZAP_DOMAIN) == b""
    assert sockets.dealer(context, zap_domain="d").get(zmq.ZAP_DOMAIN) == b"d"


def test_a_frame_over_the_limit_cuts_the_peer_off(make_pair):
    pair = make_pair(max_frame_bytes=1000)
    monitor = pair.router.get_monitor_socket(zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED)
    pair.dealer.send(b"x" * 1001)
    assert monitor.poll(5000)
    pair.router.disable_monitor()
    monitor.close()
    assert not pair.router.poll(0)


@pytest.mark.parametrize("peers", [1, 8])
def test_a_half_zmtp_1_greeting_while_closing_does_not_abort(peers):
    """Run in a process of its own, as libzmq 4.3.5 without a ZAP domain can abort here."""
    script = """
import socket, sys, zmq
from maitred.transport.sockets import bind, router
for _ in range(5):
    context = zmq.Context()
    bound = router(context, zap_domain="maitred-test", handled=False, linger_ms=0)
    port = int(bind(bound, "tcp://127.0.0.1:0").rsplit(":", 1)[1])
    raw = [socket.create_connection(("127.0.0.1", port)) for _ in range(int(sys.argv[1]))]
    for one in raw:
        one.sendall(b"\\x01\\x00")  # a ZMTP/1.0 greeting: an identity of no bytes, and nothing more
    bound.poll(20)
    bound.close()
    context.term()
    for one in raw:
        one.close()
"""
    done = subprocess.run([sys.executable, "-c", script, str(peers)], timeout=30, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_silent_connection_is_cut_off_in_seconds(context, monkeypatch):
    monkeypatch.setattr(sockets, "HANDSHAKE_TIMEOUT_MS", 100)
    bound = sockets.router(context, zap_domain="maitred-test", handled=False)
    port = int(sockets.bind(bound, "tcp://127.0.0.1:0").rsplit(":", 1)[1])
    with stdlib_socket.create_connection(("127.0.0.1", port)) as raw:
        raw.settimeout(5)
        while raw.recv(100):  # its greeting, then the end
            pass


@pytest.mark.slow
@pytest.mark.parametrize("module", ["sockets", "drain", "owner", "lifeline"])
def test_a_worker_imports_no_event_loop(module):
    script = f"import sys, maitred.transport.{module}; print(sorted({{'trio', 'anyio', 'asyncio'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], timeout=30, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
