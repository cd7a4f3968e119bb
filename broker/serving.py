"""A broker's life under trio: try its doors, say that it listens, obey signals, drain, end.

What it decides is in `core`, how it talks in `shell`, who may come in `doors`.
"""

from __future__ import annotations

import functools
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec
import trio
from zmq.utils import z85

from maitred.broker.core.effects import Note, Reload, Side
from maitred.broker.doors import DoorError, Doors
from maitred.broker.event_feed import EventFeed
from maitred.broker.events import EventLog, Logger
from maitred.broker.keyring import Keyring
from maitred.broker.ports import Ports
from maitred.broker.reloading import Reloading
from maitred.broker.settings import BrokerSettings
from maitred.broker.shell import Shell
from maitred.broker.trial import new_key, try_doors
from maitred.broker.upkeep import make_room, make_watch
from maitred.config.rundir import RunDir
from maitred.protocol.version import VERSION
from maitred.tracing.exporting import is_wanted, make_processor
from maitred.transport import clock
from maitred.transport.host import Host
from maitred.transport.lifeline import Lifeline
from maitred.transport.systemd import feed_watchdog, notify
from maitred.transport.terminal import Terminal
from maitred.transport.zap import ZapHandler

if TYPE_CHECKING:
    from maitred.broker.tracing import Tracing

__all__ = ["EXIT_FORCED", "Serving"]

EXIT_FORCED = 1
"""Ended by a second signal, or by the end of its parent, with requests unanswered."""

LAST_WORDS_S = 0.1
"""How long the sockets stay open after the last answer: a DEALER with IMMEDIATE, as ours are, drops what it has received
and not handed on when its connection ends, so a close that follows at once costs one answer in ten."""


class Serving:
    """One broker whose sockets are bound. To be made once the host's loop is about to run.

    Args:
        host: whose loop it is.
        settings: what it is told.
        ports: its sockets; owned from here on.
        keyring: who it is, and whose keys may do what.
        secret: that of the run directory.
        logger: where its events go.
        run_dir: where it is found while its sockets are open, and its last headers are kept if it crashes.
    """

    def __init__(
        self,
        host: Host,
        settings: BrokerSettings,
        ports: Ports,
        keyring: Keyring,
        secret: str,
        logger: Logger,
        run_dir: RunDir,
    ) -> None:
        self._host = host
        self._settings = settings
        self._ports = ports
        self._keyring = keyring
        self._secret = secret
        self._logger = logger
        self._run_dir = run_dir
        self._feed = EventFeed()
        self._events = EventLog(logger, self._feed)
        self._terminal = Terminal()
        self._forced = False
        self._tracing: Tracing | None = None

    async def run(self, on_ready: Callable[[], object], listener: socket.socket | None, token: str) -> int:
        """Serve until a signal; returns the exit code.

        Args:
            on_ready: called once it can be called by anybody.
            listener: for HTTP, if it is wanted.
            token: what HTTP asks for; "": nothing.

        Raises:
            DoorError: a door does not keep out whom it has to; nobody was told that it listens.
            NotInstalled: spans are to be exported, and what that needs is not there.
        """
        self._shell = self._make_shell()
        room = make_room(self._settings, self._ports.doors)
        watch = make_watch(self._settings, self._shell, self._ports.doors, room, self._ports.prepare)
        self._doors = Doors(
            self._shell.core.may_enter,
            self._events,
            keyed=self._ports.keyed,
            room=room,
            insecure=self._settings.insecure,
        )
        handler = ZapHandler(self._ports.zap, self._doors.decide, self._host.pump)
        self._reloading = Reloading(self._keyring, self._shell, self._events)
        problem = None
        try:
            async with trio.open_nursery() as self._nursery:
                await self._nursery.start(self._obey)
                await self._nursery.start(handler.run)
                await self._nursery.start(self._shell.run)
                self._nursery.start_soon(watch.run)
                self._nursery.start_soon(feed_watchdog)
                self._nursery.start_soon(self._tell_listeners)
                if self._settings.parent is not None:
                    self._nursery.start_soon(self._watch_parent)
                problem = await self._try_doors()
                if problem is None:
                    if listener is not None:
                        self._nursery.start_soon(self._serve_http, listener, token, room.refused)
                    self._tell_of_keys()
                    on_ready()
                    self._tell_manager(READY="1", STATUS="serving")
                    await self._shell.drained.wait()
                    self._run_dir.withdraw()
                    await trio.sleep(LAST_WORDS_S)
                self._nursery.cancel_scope.cancel()
        except BaseException:
            self._write_post_mortem()
            raise
        finally:
            handler.close()
            if self._tracing is not None:
                self._tracing.close()
        if problem is not None:
            raise DoorError(problem)
        self._events(Note("broker.stopped", {"forced": self._forced, **_totals(self._events)}))
        return EXIT_FORCED if self._forced else 0

    def _make_shell(self) -> Shell:
        ahead_s = time.monotonic() - trio.current_time()  # both are the same clock, from another beginning
        policy = self._keyring.policy(self._settings, self._secret)
        self._tracing = tracing = _tracing(VERSION, ahead_s) if is_wanted() else None
        core = self._settings.core(f"maitred {VERSION}", clock.name(), ahead_s, policy)
        core = msgspec.structs.replace(core, recent=self._feed.recent, tracing=tracing is not None)
        sockets = self._ports.sockets
        return Shell(
            core,
            sockets[Side.CLIENTS],
            sockets[Side.WORKERS],
            self._events,
            functools.partial(self._host.pump, batch=self._settings.receive_batch),
            majordomo=sockets.get(Side.MAJORDOMO),
            on_reload=self._reload,
            connections=[door.connections for door in self._ports.doors],
            on_traced=lambda journey: tracing and tracing.export(journey),
        )

    async def _try_doors(self) -> str | None:
        key = self._keyring.key
        stranger = new_key(key.public) if key is not None else None
        if stranger is not None:
            self._doors.probe = z85.decode(stranger.public)
        problem = await trio.to_thread.run_sync(try_doors, self._ports, stranger, self._secret, abandon_on_cancel=True)
        unasked = {Side.CLIENTS, Side.WORKERS, *([Side.MAJORDOMO] if stranger is not None else [])} - self._doors.tried
        if problem is None and unasked & self._ports.sockets.keys():
            sides = ", ".join(sorted(side.name.lower() for side in unasked & self._ports.sockets.keys()))
            return f"the self-test failed: nobody asked who may come to the side of {sides}; the broker does not start"
        return problem

    def _tell_of_keys(self) -> None:
        keyring = self._keyring
        if keyring.key is not None and not keyring.authorized:
            hint = "nobody can come by TCP: `maitred keys new NAME --role …` makes a key, `maitred reload` has it known"
            self._events(Note("keys.none", {"file": str(keyring.authorized_file), "hint": hint}))

    # --- signals ---

    async def _obey(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            task_status.started()
            async for number in signals:
                if number == signal.SIGHUP and not self._terminal.is_gone():
                    self._nursery.start_soon(self._reloading.read)
                elif self._shell.core.state.leaving:
                    self._end_at_once()
                else:
                    self._tell_manager(STOPPING="1", STATUS="finishing what it has")
                    self._events(Note("broker.stopping", {"signal": signal.Signals(number).name}))
                    self._nursery.start_soon(self._drain)

    async def _drain(self) -> None:
        """Not ready first, for those who look whether it is; then nothing new is taken."""
        self._shell.core.leave()
        if self._settings.drain_delay_s:
            await trio.sleep(self._settings.drain_delay_s)
        self._shell.drain()

    def _tell_manager(self, **told: str) -> None:
        if self._settings.parent is None:  # else whoever started it tells of the whole
            notify(**told)

    def _reload(self, asked: Reload) -> None:
        self._nursery.start_soon(self._reloading.read, asked)

    async def _watch_parent(self) -> None:
        await Lifeline(0).wait_gone()
        self._end_at_once()

    def _end_at_once(self) -> None:
        if not self._forced:
            self._forced = True
            self._run_dir.withdraw()
            self._nursery.start_soon(self._say_so_and_end)

    async def _say_so_and_end(self) -> None:
        """Who waits for an answer would take silence for a restart, and wait for that. Slow readers are not waited for."""
        self._shell.end_drain()
        await trio.sleep(LAST_WORDS_S)
        self._nursery.cancel_scope.cancel()

    # --- beside the routing ---

    async def _tell_listeners(self) -> None:
        with self._feed.listen() as listener:
            async for event in listener:
                self._shell.tell([event, *listener.take()])

    async def _serve_http(self, listener: socket.socket, token: str, refused: Mapping[str, int]) -> None:
        from maitred.broker.metrics import (  # here: half of a small broker's start would go into it
            Metrics,
            Outside,
            build,
        )
        from maitred.broker.web.guard import Tokens
        from maitred.broker.web.house import House
        from maitred.broker.web.serving import serve

        shell, now = self._shell, trio.current_time
        outside = Outside(self._events.counts, shell.lag, lambda: shell.rescues, refused, build())
        metrics = Metrics(shell.core, now, outside)
        operate = functools.partial(shell.operate, software="http", principal="operator")
        house = House(shell.core, now, operate, self._feed, metrics.render, shell.drained.wait)
        try:
            await serve(listener, house, Tokens(token, self._secret))
        except Exception:
            self._events.count(Note("http.failed", {}))
            self._logger.exception("http.failed")  # nobody's requests depend on it

    def _write_post_mortem(self) -> None:
        """Keep the last headers beside the lock: [seconds, side, route, header] each, oldest first."""
        path = self._run_dir.directory / f"crash-{os.getpid()}.msgpack"
        inputs = [[now, int(peer.side), peer.route, header] for now, peer, header in self._shell.inputs]
        path.write_bytes(msgspec.msgpack.encode(inputs))
        self._events(Note("broker.crashed", {"inputs": len(inputs), "written_to": str(path)}))


def _tracing(version: str, ahead_s: float) -> Tracing:
    processor = make_processor()  # first: it says what is missing where OpenTelemetry is
    from maitred.broker.tracing import Tracing

    return Tracing(version, ahead_s, processor)


def _totals(events: EventLog) -> dict[str, int]:
    return {name.replace(".", "_"): count for name, count in events.counts.items() if name.startswith("protocol.")}
