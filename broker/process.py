"""A broker's process: read its keys, bind, serve, end. What it does in between is in `serving`.

    run(settings)     in this process: `maitred broker`, `maitred-broker`
    child()           as a child of `maitred up`: the settings are the first line of standard input, whose end means that
                      the parent is gone; the bound endpoints are the first line of standard output

SIGTERM and SIGINT drain; a second one ends it at once. SIGHUP has it read again whose keys may do what.
"""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import zmq

from maitred.broker.bound import Bound
from maitred.broker.core.effects import Side
from maitred.broker.doors import DoorError, refuse_unguarded
from maitred.broker.events import Logger, make_logger
from maitred.broker.keyring import Keyring, read_keyring, read_token
from maitred.broker.ports import open_ports
from maitred.broker.room import raise_descriptors
from maitred.broker.serving import EXIT_FORCED, Serving
from maitred.broker.settings import BrokerSettings
from maitred.config.authorized import AuthorizedError
from maitred.config.key_file import KeyFileError
from maitred.config.rundir import Connection, RunDir, RunDirError, claim, run_dir
from maitred.protocol.version import VERSION
from maitred.tracing.exporting import NotInstalled
from maitred.transport.context import new_context
from maitred.transport.errors import EndpointError
from maitred.transport.host import Host
from maitred.transport.lifeline import die_with_parent
from maitred.transport.undumpable import make_undumpable

__all__ = ["EXIT_FORCED", "START_ERRORS", "child", "run"]

START_ERRORS = (RunDirError, EndpointError, KeyFileError, AuthorizedError, DoorError, NotInstalled)
"""What keeps a broker from starting; the text of each says what to do."""


def run(settings: BrokerSettings, on_ready: Callable[[Bound], object] = lambda _: None) -> int:
    """Serve until a signal; returns the exit code.

    Raises:
        BrokerRunning, RunDirError: another broker has the run directory, or it cannot be used.
        KeyFileError, AuthorizedError: the broker's key, its HTTP token or the authorisation file cannot be used.
        BindError: an endpoint cannot be listened at.
        DoorError: an endpoint is, or would be, open to whom it must not be.
        NotInstalled: spans are to be exported, and what that needs is not there.
    """
    if settings.gc_threshold is not None:
        gc.set_threshold(settings.gc_threshold)
    logger = make_logger(settings.log_level, settings.log_format)
    directory = Path(settings.run_dir) if settings.run_dir else run_dir()
    with claim(directory) as claimed:
        keyring = _read_keys(settings)
        token = read_token(settings.http_token_file) if settings.http_token_file else ""
        if not settings.insecure:
            endpoints = {name: getattr(settings, name) for name in ("clients", "workers", "majordomo")}
            refuse_unguarded(endpoints, settings.http, keyed=keyring.key is not None, token=bool(token))
        return _run(settings, claimed, keyring, token, logger, on_ready)


def _run(
    settings: BrokerSettings,
    claimed: RunDir,
    keyring: Keyring,
    token: str,
    logger: Logger,
    on_ready: Callable[[Bound], object],
) -> int:
    raise_descriptors()
    context: zmq.Context[zmq.Socket[bytes]] = new_context(settings.io_threads)
    with contextlib.ExitStack() as stack:
        stack.callback(context.destroy)
        secret = claimed.secret
        listener = _listen(settings.http)
        if listener is not None:
            stack.enter_context(listener)
        ports = open_ports(context, settings, claimed, keyring.key)
        clients, workers = ports.endpoints[Side.CLIENTS], ports.endpoints[Side.WORKERS]
        majordomo = ports.endpoints.get(Side.MAJORDOMO, [""])[-1]
        bound = Bound(clients, workers, os.getpid(), _address(listener), secret, majordomo)

        def tell() -> None:
            claimed.publish(Connection(os.getpid(), clients, workers, time.time(), VERSION, secret, bound.http))
            on_ready(bound)

        host = Host(settings.busy_poll_s)
        return host.run(Serving(host, settings, ports, keyring, secret, logger, claimed).run, tell, listener, token)


def _read_keys(settings: BrokerSettings) -> Keyring:
    keyring = read_keyring(settings)
    if keyring.key is not None:
        make_undumpable()
    return keyring


def child() -> None:
    """Be the broker of a parent process."""
    settings = msgspec.json.decode(sys.stdin.buffer.readline(), type=BrokerSettings)
    if settings.parent is not None:
        die_with_parent(settings.parent)

    def tell(bound: Bound) -> None:
        sys.stdout.buffer.write(msgspec.json.encode(bound) + b"\n")
        sys.stdout.flush()

    try:
        sys.exit(run(settings, tell))
    except START_ERRORS as error:
        sys.exit(f"maitred: {error}")


def _listen(address: str) -> socket.socket | None:
    if not address:
        return None
    from maitred.broker.web.serving import listen  # here: half of a small broker's start would go into it

    return listen(address)


def _address(listener: socket.socket | None) -> str:
    if listener is None:
        return ""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
