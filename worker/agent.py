"""The agent: parent of one pool's workers on one host. Its conversation with the broker, its signals, its end.

Run as a process of its own (`main`): its settings come as one line of JSON on standard input, which stays open as the
life-line: at its end the agent kills its workers and ends. SIGTERM: workers finish what runs; a second one kills them.

Who there is to be is decided in `worker.fleet`, and done in `worker.keeping`.

No worker outlives its agent: the kernel kills the fork server with the agent and the workers with the fork server, each
worker watches a life-line besides, and what they started themselves is ended by `worker.reaper`.
"""

from __future__ import annotations

import contextlib
import math
import os
import platform
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import trio
import zmq

from maitred.config.credentials import Showing, find_key
from maitred.config.key_file import KeyFileError
from maitred.protocol import messages
from maitred.protocol.agent import AgentConnection
from maitred.protocol.errors import MaitredError
from maitred.protocol.showing import show_nothing
from maitred.protocol.version import VERSION
from maitred.transport.context import new_context
from maitred.transport.endpoints import connect
from maitred.transport.errors import WouldBlock
from maitred.transport.lifeline import Lifeline, die_with_parent
from maitred.transport.pump import Pump
from maitred.transport.refusals import HandshakeRefusals
from maitred.transport.sockets import dealer
from maitred.transport.systemd import feed_watchdog, keep_to_oneself, notify
from maitred.transport.undumpable import forbid_core_dumps
from maitred.worker.agent_settings import AgentSettings
from maitred.worker.fork_server import ForkServer
from maitred.worker.gpus import GpuError
from maitred.worker.keeping import Keeping
from maitred.worker.observing import Observing
from maitred.worker.reaper import MARK, Reaper, mark, sweep
from maitred.worker.turned_away import PATIENCE_S, TurnedAway, may_change

__all__ = ["Agent", "main"]

RETRY_S = 0.02
"""Until the next try to send, while the broker is away."""

THREAD_CAPS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)  # fmt: skip
"""What numerical libraries read, once, when they are loaded. Whoever sets one himself is obeyed."""


class Agent:
    """Keeps a pool's workers alive on this host.

    Args:
        settings: what to run, and where the broker is.
        forks: where workers are forked from.
        observing: what is seen of them.
        reaper: ends what they leave.
    """

    def __init__(self, settings: AgentSettings, forks: ForkServer, observing: Observing, reaper: Reaper) -> None:
        self._settings = settings
        self._context: zmq.Context[zmq.Socket[bytes]] = new_context()
        key = find_key(settings.endpoint, settings.key_file)
        if key is not None:
            forbid_core_dumps()  # nor of its workers, which have it too
        socket = dealer(self._context, key=key)
        self._refusals = HandshakeRefusals(socket, settings.endpoint, key)
        self._turned_away = TurnedAway("this agent", lambda text: print(f"[{settings.pool}] {text}", file=sys.stderr))
        connect(socket, settings.endpoint)
        self._pump = Pump([socket], self._receive)
        self._connection = AgentConnection(
            messages.Agent(
                os.urandom(16),
                settings.pool,
                platform.node()[:255],
                os.getpid(),
                f"maitred {VERSION}",
                settings.size,
                settings.least,
                settings.most,
                observing.memory_mode,
                observing.gpus,
            ),
            Showing(settings.endpoint, settings.secret) if key is None else show_nothing,
        )
        self._keeping = Keeping(settings, self._connection, self._flush, forks, observing, reaper)
        self._timer = trio.CancelScope()
        self._refusal: MaitredError | None = None
        self._stop_all: Callable[[], None] = trio.CancelScope().cancel

    async def run(self) -> None:
        """Run until SIGTERM or the end of standard input.

        A broker that does not let this agent in may do so later, and is asked again; what it cannot understand ends it.

        Raises:
            MaitredError: the broker refuses this agent for good.
        """
        self._connection.start(trio.current_time())
        try:
            async with trio.open_nursery() as nursery:
                self._stop_all = nursery.cancel_scope.cancel
                await nursery.start(self._pump.run)
                await nursery.start(self._obey_signals)
                nursery.start_soon(self._watch_parent)
                nursery.start_soon(self._talk)
                nursery.start_soon(self._watch_refusals)
                nursery.start_soon(self._say_where_nobody_answers)
                nursery.start_soon(feed_watchdog)
                notify(READY="1", STATUS=f"keeps the workers of pool {self._settings.pool}")
                await self._keeping.run()
                self._connection.bye()
                self._flush()
                nursery.cancel_scope.cancel()
            if self._refusal is not None:
                raise self._refusal
        finally:
            self._keeping.kill_all()
            self._refusals.close()
            self._pump.close()
            self._context.destroy(linger=500)

    # --- the broker ---

    def _receive(self, _index: int, message: Sequence[Any]) -> None:
        try:
            order = self._connection.receive(message, trio.current_time())
        except MaitredError as error:
            if may_change(error):
                self._wait_to_be_let_in(error)
                return
            self._refusal = error
            self._keeping.kill_all()  # what still imports would be waited for
            self._stop_all()
            return
        if self._connection.known:
            self._turned_away.note(None)
        if order is not None:
            self._keeping.obey(order)
        self._flush()

    def _wait_to_be_let_in(self, error: MaitredError) -> None:
        self._turned_away.note(error)
        self._connection.refused(trio.current_time(), self._turned_away.pause_s())

    async def _watch_refusals(self) -> None:
        """See whether the handshake succeeds, and try again where it does not. All is read before it sleeps."""
        refusals = self._refusals
        while True:
            now = trio.current_time()
            if refusals.look(now):
                self._pump.kick()
            if refusals.trouble is not None:
                self._turned_away.note(refusals.trouble)
            with trio.CancelScope(deadline=refusals.next_deadline()):
                await trio.lowlevel.wait_readable(refusals.fileno())

    async def _say_where_nobody_answers(self) -> None:
        await trio.sleep(PATIENCE_S)
        if not self._connection.known:
            self._turned_away.note_silence(self._refusals.no_answer(PATIENCE_S).message)

    async def _talk(self) -> None:
        while True:
            self._flush()
            now = trio.current_time()
            if not self._connection.outgoing and now >= self._connection.next_deadline():
                self._connection.tick(now, self._keeping.vouched())
                self._connection.report(self._keeping.states())
                self._flush()
            stuck = bool(self._connection.outgoing)
            wake_at = trio.current_time() + RETRY_S if stuck else self._connection.next_deadline()
            with trio.CancelScope(deadline=wake_at) as self._timer:
                await trio.sleep_forever()

    def _flush(self) -> None:
        outgoing = self._connection.outgoing
        with contextlib.suppress(WouldBlock):
            while outgoing:
                self._pump.send(0, outgoing[0])
                outgoing.pop(0)
        self._timer.deadline = -math.inf if outgoing else min(self._timer.deadline, self._connection.next_deadline())

    # --- the end ---

    async def _obey_signals(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            asked = 0
            async for _ in signals:
                asked += 1
                if asked == 1:
                    notify(STOPPING="1", STATUS="finishing what runs")
                    self._keeping.drain()
                else:
                    self._keeping.kill_all()

    async def _watch_parent(self) -> None:
        if self._settings.parent is not None:
            await Lifeline(0).wait_gone()
            self._keeping.kill_all()


def main() -> None:
    """Be an agent: the settings are the first line of standard input.

    Start it with `python -c "from maitred.worker.agent import main; main()"`, not with `-m`: `multiprocessing` imports
    a main module that has a name again in each worker.
    """
    settings = msgspec.json.decode(sys.stdin.buffer.readline(), type=AgentSettings)
    if settings.parent is not None:
        die_with_parent(settings.parent)
    if settings.threads_per_worker:
        for name in THREAD_CAPS:
            os.environ.setdefault(name, str(settings.threads_per_worker))
    keep_to_oneself()
    own = mark(settings.pool, settings.endpoint)
    left = sweep(own)
    if left:
        print(f"[{settings.pool}] {left} processes that an earlier agent had left were killed", file=sys.stderr)
    reaper = Reaper(own)
    os.environ[MARK] = own
    forks = ForkServer(settings)
    if settings.start_method == "forkserver":
        forks.ensure()  # it imports while the agent goes on
    try:
        _run(settings, forks, reaper)
    finally:
        reaper.close()


def _run(settings: AgentSettings, forks: ForkServer, reaper: Reaper) -> None:
    try:
        observing = Observing(settings)
    except GpuError as error:
        sys.exit(f"[{settings.pool}] {error}")
    try:
        trio.run(Agent(settings, forks, observing, reaper).run)
    except KeyFileError as error:
        sys.exit(f"[{settings.pool}] {error}")
    except MaitredError as error:
        sys.exit(f"[{settings.pool}] the broker refused this agent: {error.message}")
    finally:
        observing.close()
