"""Binding and connecting: the port that was given, and errors that name the endpoint and what to do."""

from __future__ import annotations

import errno
import os
import pickle
import re
import stat
import sys

import pytest
import zmq

from maitred.transport.endpoints import bind, connect
from maitred.transport.errors import BindError, ConnectError
from maitred.transport.sockets import dealer, router


@pytest.fixture
def bound(context):
    return router(context, zap_domain="maitred-test", handled=False)


@pytest.fixture
def short_path(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("s") / "b.sock")
    assert len(path) <= zmq.IPC_PATH_MAX_LEN
    return path


@pytest.mark.parametrize("port", ["0", "*"])
def test_a_port_chosen_by_the_system_is_returned(bound, port):
    endpoint = bind(bound, f"tcp://127.0.0.1:{port}")
    assert re.fullmatch(r"tcp://127\.0\.0\.1:[1-9]\d*", endpoint)


def test_all_interfaces(bound):
    assert bind(bound, "tcp://*:0").startswith("tcp://0.0.0.0:")


def test_ipv6(bound, context):
    try:
        endpoint = bind(bound, "tcp://[::1]:0")
    except BindError as error:
        pytest.skip(f"no IPv6 here: {error}")
    peer = dealer(context)
    connect(peer, endpoint)
    assert peer.poll(5000, zmq.POLLOUT)


def test_a_port_in_use(bound, context):
    endpoint = bind(bound, "tcp://127.0.0.1:0")
    with pytest.raises(BindError, match="another process is listening") as caught:
        bind(router(context, zap_domain="other", handled=False), endpoint)
    assert caught.value.errno == errno.EADDRINUSE
    assert caught.value.endpoint == endpoint
    assert endpoint in str(caught.value)
    assert isinstance(caught.value, OSError)


@pytest.mark.parametrize(
    ("endpoint", "number", "text"),
    [
        ("tcp://127.0.0.1:65536", errno.EINVAL, "ports end at 65535"),
        ("tcp://127.0.0.1", errno.EINVAL, "tcp://host:port"),
        ("tcp://::1:5555", errno.EINVAL, "IPv6 as"),
        ("tcp://192.0.2.1:5555", errno.EADDRNOTAVAIL, "no network interface"),
        ("tcp://no-such-interface:5555", errno.ENODEV, "no such network interface"),
        ("ipc:///nonexistent/b.sock", errno.ENOENT, "the directory does not exist"),
        ("http://127.0.0.1:5555", errno.EPROTONOSUPPORT, "unknown protocol"),
        ("nonsense", errno.EINVAL, "nonsense"),
    ],
)
def test_an_address_that_cannot_be_bound(bound, endpoint, number, text):
    with pytest.raises(BindError, match=re.escape(text)) as caught:
        bind(bound, endpoint)
    assert caught.value.errno == number
    assert endpoint in str(caught.value)


def test_an_ipc_path_too_long(bound, context):
    endpoint = "ipc:///tmp/" + "é" * 60  # counted in bytes, not characters
    with pytest.raises(BindError, match=r"125 bytes, the system allows \d+") as caught:
        bind(bound, endpoint)
    assert caught.value.errno == errno.ENAMETOOLONG
    with pytest.raises(ConnectError, match="too long"):
        connect(dealer(context), endpoint)


def test_an_ipc_socket_is_for_its_owner_only(bound, short_path):
    assert bind(bound, f"ipc://{short_path}") == f"ipc://{short_path}"
    assert stat.S_IMODE(os.stat(short_path).st_mode) == 0o600


def test_a_live_ipc_socket_is_not_stolen(bound, context, short_path):
    bind(bound, f"ipc://{short_path}")
    with pytest.raises(BindError, match="a socket is already there") as caught:
        bind(router(context, zap_domain="thief", handled=False), f"ipc://{short_path}")
    assert caught.value.errno == errno.EADDRINUSE
    peer = dealer(context)
    connect(peer, f"ipc://{short_path}")
    assert peer.poll(5000, zmq.POLLOUT)
    peer.send(b"to the first")
    assert bound.poll(5000)


def test_a_stale_ipc_socket_is_replaced_under_the_lock(bound, short_path):
    import socket

    with socket.socket(socket.AF_UNIX) as leftover:
        leftover.bind(short_path)
    before = os.stat(short_path).st_ino
    bind(bound, f"ipc://{short_path}", holds_lock=True)
    assert stat.S_ISSOCK(os.stat(short_path).st_mode)
    assert (os.stat(short_path).st_ino, stat.S_IMODE(os.stat(short_path).st_mode)) != (before, 0o755)


@pytest.mark.parametrize("holds_lock", [False, True])
def test_a_file_in_the_way_is_kept(bound, short_path, holds_lock):
    with open(short_path, "w") as file:
        file.write("precious")
    with pytest.raises(BindError, match="is no socket"):
        bind(bound, f"ipc://{short_path}", holds_lock=holds_lock)
    with open(short_path) as file:
        assert file.read() == "precious"


@pytest.mark.skipif(sys.platform != "linux", reason="nameless sockets are Linux's")
def test_a_nameless_ipc_socket(bound):
    endpoint = f"ipc://@maitred-test-{os.getpid()}"
    assert bind(bound, endpoint) == endpoint


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:0", "tcp://127.0.0.1:*", "tcp://x", "foo://x", "tcp://h:99999"])
def test_an_address_that_can_never_be_connected_to(context, endpoint):
    with pytest.raises(ConnectError) as caught:
        connect(dealer(context), endpoint)
    assert endpoint in str(caught.value)


def test_an_endpoint_error_survives_pickling():
    error = pickle.loads(pickle.dumps(BindError(errno.EADDRINUSE, "text", "tcp://h:1")))
    assert (type(error), error.errno, str(error), error.endpoint) == (BindError, errno.EADDRINUSE, "text", "tcp://h:1")
