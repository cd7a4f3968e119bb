"""A broker's process: bind, say so, serve, drain, end. What it decides is in `core`, how it talks in `shell`.

    run(settings)     in this process: `maitred broker`, `maitred-broker`
    child()           as a child of `maitred up`: the settings are the first line of standard input, whose end means that
                      the parent is gone; the bound endpoints are the first line of standard output

SIGTERM and SIGINT drain; a second one ends it at once.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import trio
import zmq

from maitred.broker.events import EventLog, Logger, make_logger
from maitred.broker.room import raise_descriptors
from maitred.broker.settings import BrokerSettings
from maitred.broker.shell import Shell
from maitred.broker.upkeep import SideDoor, make_room, make_watch
from maitred.config.rundir import Connection, RunDirError, claim, run_dir
from maitred.transport import clock
from maitred.transport.connections import Connections
from maitred.transport.context import new_context
from maitred.transport.endpoints import bind
from maitred.transport.errors import EndpointError
from maitred.transport.host import Host
from maitred.transport.lifeline import Lifeline, die_with_parent
from maitred.transport.sockets import router

__all__ = ["EXIT_FORCED", "Bound", "child", "run"]

EXIT_FORCED = 1
"""Ended by a second signal, or by the end of its parent, with requests unanswered."""

LAST_WORDS_S = 0.1
"""How long the sockets stay open after the last answer: a DEALER with IMMEDIATE, as ours are, drops what it has received
and not handed on when its connection ends, so a close that follows at once costs one answer in ten."""


class Bound(msgspec.Struct, frozen=True):
    """Where a broker listens: the `ipc://` endpoint first, then the one for other hosts. `http`: host:port, "" for none.

    `secret` is that of the connection file; `majordomo` "" where there is no such port.
    """

    clients: list[str]
    workers: list[str]
    pid: int
    http: str = ""
    secret: str = ""
    majordomo: str = ""


def run(settings: BrokerSettings, on_ready: Callable[[Bound], object] = lambda _: None) -> int:
    """Serve until a signal; returns the exit code.

    Raises:
        BrokerRunning, RunDirError: another broker has the run directory, or it cannot be used.
        BindError: an endpoint cannot be listened at.
    """
    if settings.gc_threshold is not None:
        gc.set_threshold(settings.gc_threshold)
    logger = make_logger(settings.log_level, settings.log_format)
    directory = Path(settings.run_dir) if settings.run_dir else run_dir()
    with claim(directory) as claimed, contextlib.ExitStack() as stack:
        raise_descriptors()
        context: zmq.Context[zmq.Socket[bytes]] = new_context(settings.io_threads)
        limits = {"hwm": settings.high_water_mark, "max_frame_bytes": settings.max_message_bytes}
        try:
            clients = router(context, zap_domain="clients", **limits)
            workers = router(context, zap_domain="workers", **limits)
            watched = Connections[Any](clients), Connections[Any](workers)  # before anybody can connect
            listener = _listen(settings.http)
            if listener is not None:
                stack.enter_context(listener)
            bound = Bound(
                [bind(clients, claimed.clients_ipc, holds_lock=True), bind(clients, settings.clients)],
                [bind(workers, claimed.workers_ipc, holds_lock=True), bind(workers, settings.workers)],
                os.getpid(),
                _address(listener),
            )
            version = metadata.version("maitred")
            claimed.publish(Connection(os.getpid(), bound.clients, bound.workers, time.time(), version))
            sides = [
                SideDoor("clients", clients, watched[0], bound.clients),
                SideDoor("workers", workers, watched[1], bound.workers),
            ]
            host = Host(settings.busy_poll_s)
            tell = lambda: on_ready(bound)  # noqa: E731
            return host.run(_serve, host, settings, sides, listener, logger, tell, directory)
        finally:
            context.destroy()


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
    except (RunDirError, EndpointError) as error:
        sys.exit(f"maitred: {error}")


async def _serve(
    host: Host,
    settings: BrokerSettings,
    sides: list[SideDoor],
    listener: socket.socket | None,
    logger: Logger,
    on_ready: Callable[[], object],
    directory: Path,
) -> int:
    events = EventLog(logger)
    make_pump = functools.partial(host.pump, batch=settings.receive_batch)
    ahead_s = time.monotonic() - trio.current_time()  # both are the same clock, from another beginning
    core = settings.core(f"maitred {metadata.version('maitred')}", clock.name(), ahead_s)
    shell = Shell(
        core, sides[0].socket, sides[1].socket, events, make_pump, connections=[side.connections for side in sides]
    )
    watch = make_watch(settings, shell, sides, make_room(settings, sides))
    forced = False

    async def obey(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        nonlocal forced
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async for number in signals:
                if shell.draining:
                    forced = True
                    nursery.cancel_scope.cancel()
                    return
                logger.info("broker.stopping", signal=signal.Signals(number).name)
                shell.drain()

    async def watch_parent() -> None:
        nonlocal forced
        await Lifeline(0).wait_gone()
        forced = True
        nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(obey)
            await nursery.start(shell.run)
            nursery.start_soon(watch.run)
            if listener is not None:
                nursery.start_soon(_serve_http, listener, shell, logger)
            if settings.parent is not None:
                nursery.start_soon(watch_parent)
            on_ready()
            await shell.drained.wait()
            await trio.sleep(LAST_WORDS_S)
            nursery.cancel_scope.cancel()
    except BaseException:
        _write_post_mortem(shell, directory, logger)
        raise
    logger.info("broker.stopped", forced=forced, **_totals(events))
    return EXIT_FORCED if forced else 0


async def _serve_http(listener: socket.socket, shell: Shell, logger: Logger) -> None:
    from maitred.broker import http

    try:
        await http.serve(listener, functools.partial(shell.core.table, "readiness", 0.0), shell.drained.wait)
    except Exception:
        logger.exception("http.failed")  # nobody's requests depend on it


def _listen(address: str) -> socket.socket | None:
    if not address:
        return None
    from maitred.broker import http  # here: half of a small broker's start would go into it

    return http.listen(address)


def _address(listener: socket.socket | None) -> str:
    if listener is None:
        return ""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _totals(events: EventLog) -> dict[str, int]:
    return {name.replace(".", "_"): count for name, count in events.counts.items() if name.startswith("protocol.")}


def _write_post_mortem(shell: Shell, directory: Path, logger: Logger) -> None:
    """Keep the last headers beside the lock: [seconds, side, route, header] each, oldest first."""
    path = directory / f"crash-{os.getpid()}.msgpack"
    inputs = [[now, int(peer.side), peer.route, header] for now, peer, header in shell.inputs]
    path.write_bytes(msgspec.msgpack.encode(inputs))
    logger.error("broker.crashed", inputs=len(inputs), written_to=str(path))
