"""Binding and connecting: an endpoint is checked first, and an error names it and says what to do.

Checked here because libzmq does not: it takes a port modulo 65536, it silently takes over an `ipc://` path that another
process is listening on, and it deletes whatever file is in the way.
"""

from __future__ import annotations

import errno
import os
import re
import stat

import zmq

from maitred.transport.errors import BindError, ConnectError, EndpointError

__all__ = ["IPC_SOCKET_MODE", "bind", "check_target", "connect"]

IPC_SOCKET_MODE = 0o600
"""Only the owner may connect to an `ipc://` socket. The directory should be 0700 besides: it is bound before it is
restricted."""

HIGHEST_PORT = 65_535

_TCP = re.compile(r"tcp://(?P<host>\[[^\]]+\]|[^:\[\]]+):(?P<port>\d+|\*)")

_ADVICE = {
    errno.EADDRINUSE: "another process is listening there; stop it, or choose another port (0 lets the system choose)",
    errno.EACCES: "permission denied; ports below 1024 and foreign directories need rights this process lacks",
    errno.EADDRNOTAVAIL: "the address belongs to no network interface of this host; 0.0.0.0 or * means all of them",
    errno.ENODEV: "no such network interface or address; use an IP address of this host, or * for all of them",
    errno.ENOENT: "the directory does not exist; create it (mode 0700)",
    errno.EPROTONOSUPPORT: "unknown protocol; use tcp://, ipc:// or inproc://",
    errno.EMFILE: "this process is out of file descriptors; raise the limit (ulimit -n)",
}


def bind(socket: zmq.Socket[bytes], endpoint: str, *, holds_lock: bool = False) -> str:
    """Listen at an endpoint.

    Args:
        socket: not bound yet; IPv6 is switched on where the host is an IPv6 address (in brackets).
        endpoint: `tcp://host:port` (port 0 or `*`: the system chooses), `ipc://path`, `inproc://name`.
        holds_lock: the caller holds the lock of the run directory, so a socket file found at the path is a leftover
            and is replaced. Without it, a file there is an error: it could be a live broker's.

    Returns:
        The endpoint as bound, with the actual port.

    Raises:
        BindError: `errno` tells the reason, the text names the endpoint and what to do.
    """
    _check(endpoint, BindError)
    _allow_ipv6(socket, endpoint)
    path = _ipc_path(endpoint)
    if path is not None:
        _clear_the_way(path, endpoint, holds_lock=holds_lock)
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        raise _failure(BindError, "listen on", endpoint, error) from None
    if path is not None:
        os.chmod(path, IPC_SOCKET_MODE)
    return socket.getsockopt_string(zmq.LAST_ENDPOINT)


def connect(socket: zmq.Socket[bytes], endpoint: str) -> None:
    """Begin to connect; returns at once, and an absent peer is no error.

    Raises:
        ConnectError: the endpoint itself is wrong.
    """
    check_target(endpoint)
    _allow_ipv6(socket, endpoint)
    try:
        socket.connect(endpoint)
    except zmq.ZMQError as error:
        raise _failure(ConnectError, "connect to", endpoint, error) from None


def check_target(endpoint: str) -> None:
    """Whether an endpoint can be connected to at all.

    Raises:
        ConnectError: it is none; the text says what one looks like.
    """
    _check(endpoint, ConnectError)
    if endpoint.startswith("tcp://") and endpoint.endswith((":0", ":*")):
        raise ConnectError(errno.EINVAL, f"cannot connect to {endpoint}: the port is missing", endpoint)


def _allow_ipv6(socket: zmq.Socket[bytes], endpoint: str) -> None:
    if endpoint.startswith("tcp://["):
        socket.setsockopt(zmq.IPV6, 1)


def _check(endpoint: str, kind: type[EndpointError]) -> None:
    path = _ipc_path(endpoint)
    if path is not None:
        _check_length(path, endpoint, kind)
    if not endpoint.startswith("tcp://"):
        return
    parts = _TCP.fullmatch(endpoint)
    if parts is None:
        raise kind(
            errno.EINVAL, f"{endpoint} is no endpoint: write tcp://host:port, IPv6 as tcp://[::1]:port", endpoint
        )
    port = parts["port"]
    if port != "*" and int(port) > HIGHEST_PORT:
        raise kind(errno.EINVAL, f"{endpoint} has port {port}; ports end at {HIGHEST_PORT}", endpoint)


def _ipc_path(endpoint: str) -> str | None:
    """The file of an `ipc://` endpoint; None for others, for Linux's nameless ones (@) and for libzmq's own choice."""
    path = endpoint.removeprefix("ipc://")
    return None if path == endpoint or path == "*" or path.startswith("@") else path


def _check_length(path: str, endpoint: str, kind: type[EndpointError]) -> None:
    length = len(os.fsencode(path))
    if length > zmq.IPC_PATH_MAX_LEN:
        text = (
            f"{endpoint} is too long: the path has {length} bytes, the system allows {zmq.IPC_PATH_MAX_LEN}; "
            "use a shorter directory"
        )
        raise kind(errno.ENAMETOOLONG, text, endpoint)


def _clear_the_way(path: str, endpoint: str, *, holds_lock: bool) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise _failure(BindError, "listen on", endpoint, error) from None
    if not stat.S_ISSOCK(mode):
        text = f"cannot listen on {endpoint}: the path exists and is no socket; move it away or choose another path"
        raise BindError(errno.EEXIST, text, endpoint)
    if not holds_lock:
        text = (
            f"cannot listen on {endpoint}: a socket is already there; another process may be listening on it. "
            "If none is, delete the file"
        )
        raise BindError(errno.EADDRINUSE, text, endpoint)
    os.unlink(path)


def _failure(kind: type[EndpointError], act: str, endpoint: str, error: zmq.ZMQError | OSError) -> EndpointError:
    number = error.errno or 0
    advice = _ADVICE.get(number, error.strerror or os.strerror(number))
    return kind(number, f"cannot {act} {endpoint}: {advice}", endpoint)
