"""The agent: parent of one pool's workers on one host. Starts them, knows of each death, vouches for the busy, replaces.

Run as a process of its own (`main`): its settings come as one line of JSON on standard input, which stays open as the
life-line: at its end the agent kills its workers and ends. SIGTERM: workers finish what runs; a second one kills them.

No worker outlives its agent: the kernel kills the fork server with the agent and the workers with the fork server, and
each worker watches a life-line besides.
"""

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
import os
import platform
import signal
import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from importlib import metadata
from multiprocessing import forkserver
from typing import Any

import msgspec
import trio
import zmq

from maitred.protocol import messages
from maitred.protocol.agent import AgentConnection
from maitred.protocol.errors import MaitredError
from maitred.transport.context import new_context
from maitred.transport.endpoints import connect
from maitred.transport.errors import WouldBlock
from maitred.transport.lifeline import Lifeline, die_with_parent, open_lifeline
from maitred.transport.pump import Pump
from maitred.transport.sockets import dealer
from maitred.worker.agent_settings import AgentSettings
from maitred.worker.backoff import Backoff
from maitred.worker.child import Child, contexts
from maitred.worker.preload import ENVIRONMENT_KEY, EXIT_UNFORKABLE

__all__ = ["Agent", "main"]

RETRY_S = 0.02
"""Until the next try to send, while the broker is away."""

REMEMBERED_DEATHS = 1024
"""Deaths that can be told again to a broker that asks for a worker it believes alive."""

ORDERED = frozenset({"cancelled", "timeout", "operator"})
"""Causes of a FENCE for what a worker did: it is replaced at once, however often, as it did not fail by itself."""

THREAD_CAPS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)  # fmt: skip
"""What numerical libraries read, once, when they are loaded. Whoever sets one himself is obeyed."""


class Agent:
    """Keeps `settings.size` workers alive.

    Args:
        settings: what to run, and where the broker is.
    """

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._context: zmq.Context[zmq.Socket[bytes]] = new_context()
        socket = dealer(self._context)
        connect(socket, settings.endpoint)
        self._pump = Pump([socket], self._receive)
        self._connection = AgentConnection(
            messages.Agent(
                os.urandom(16),
                settings.pool,
                platform.node()[:255],
                os.getpid(),
                f"maitred {metadata.version('maitred')}",
            )
        )
        self._children: dict[bytes, Child] = {}
        self._deaths: OrderedDict[bytes, messages.Died] = OrderedDict()
        self._timer = trio.CancelScope()
        self._drain = trio.Event()
        self._refusal: MaitredError | None = None
        self._stop_all: Callable[[], None] = trio.CancelScope().cancel
        self._method = settings.start_method
        self._lifeline_of_workers, self._lifeline = open_lifeline()

    async def run(self) -> None:
        """Run until SIGTERM or the end of standard input.

        Raises:
            MaitredError: the broker refuses this agent.
        """
        self._connection.start(trio.current_time())
        try:
            async with trio.open_nursery() as nursery:
                self._stop_all = nursery.cancel_scope.cancel
                await nursery.start(self._pump.run)
                await nursery.start(self._obey_signals)
                nursery.start_soon(self._watch_parent)
                nursery.start_soon(self._talk)
                async with trio.open_nursery() as places:
                    for _ in range(self._settings.size):
                        places.start_soon(self._keep_one)
                    if not self._settings.size:
                        await self._drain.wait()
                self._connection.bye()
                self._flush()
                nursery.cancel_scope.cancel()
            if self._refusal is not None:
                raise self._refusal
        finally:
            for child in self._children.values():
                child.kill("drain")
            self._pump.close()
            self._context.destroy(linger=500)

    # --- one place for one worker ---

    async def _keep_one(self) -> None:
        backoff = Backoff(self._settings.restart_backoff_s, self._settings.restart_backoff_max_s)
        while not self._drain.is_set():
            child = await self._start()
            with trio.CancelScope() as alive:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._limit_startup, child)
                    await child.wait()
                    alive.cancel()
            pause = self._bury(child, backoff)
            with trio.move_on_after(pause):
                await self._drain.wait()

    async def _start(self) -> Child:
        child = Child(self._settings, self._lifeline_of_workers)
        await child.start(contexts()[self._method])
        self._children[child.id] = child
        self._connection.spawned(child.id, child.pid)
        self._flush()
        if self._drain.is_set():
            child.terminate()
        return child

    async def _limit_startup(self, child: Child) -> None:
        await trio.sleep(self._settings.startup_timeout_s)
        if not child.page.loaded:  # one that has loaded waits for a broker that is away: another would, too
            self._say(f"worker {child.pid} had not loaded within {self._settings.startup_timeout_s:g} s: killed")
            child.kill("timeout")

    def _bury(self, child: Child, backoff: Backoff) -> float:
        """Tell of a death; returns the pause before the place is filled again."""
        del self._children[child.id]
        death = child.certificate()
        self._deaths[child.id] = death
        if len(self._deaths) > REMEMBERED_DEATHS:
            self._deaths.popitem(last=False)
        self._connection.died(death)
        ordered = child.page.ready and child.doom in ORDERED
        pause = 0.0 if ordered else backoff.died(child.lived_s, child.page.ready, child.page.served)
        if child.exit_code == EXIT_UNFORKABLE and self._method == "forkserver":
            self._say("the adapter cannot be forked (see above): this pool's workers are spawned")
            self._method, pause = "spawn", 0.0
        elif backoff.hopeless:
            reason = child.last_words().strip().rpartition("\n")[2] or f"exit code {child.exit_code}"
            self._connection.degraded(f"workers die before they are ready: {reason}")
        self._flush()
        child.close()
        return pause

    # --- the broker ---

    def _receive(self, _index: int, message: Sequence[Any]) -> None:
        try:
            fence = self._connection.receive(message, trio.current_time())
        except MaitredError as error:
            self._refusal = error
            self._stop_all()
            return
        if fence is not None:
            self._fence(fence)
        self._flush()

    def _fence(self, fence: messages.Fence) -> None:
        worker, child = fence.worker, self._children.get(fence.worker)
        if child is None:
            unknown = messages.Certificate("exit", worker=worker.hex(), host=platform.node()[:255])
            self._connection.died(self._deaths.get(worker, messages.Died(worker, unknown)))
        elif fence.only is None or child.runs(fence.only):
            why = "has gone silent" if fence.cause == "heartbeat" else f"does not stop ({fence.cause})"
            self._say(f"worker {child.pid} {why}: killed")
            child.kill(fence.cause)

    async def _talk(self) -> None:
        while True:
            self._flush()
            if not self._connection.outgoing:
                alive = [child.id for child in self._children.values() if child.look()]
                self._connection.tick(trio.current_time(), alive)
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
            async with trio.open_nursery() as nursery:
                async for _ in signals:
                    asked += 1
                    if asked == 1:
                        self._terminate()
                        nursery.start_soon(self._limit_drain)
                    else:
                        self._kill_all()

    def _terminate(self) -> None:
        self._drain.set()
        for child in self._children.values():
            child.terminate()

    async def _limit_drain(self) -> None:
        await trio.sleep(self._settings.drain_timeout_s)
        self._kill_all()

    def _kill_all(self) -> None:
        self._drain.set()
        for child in self._children.values():
            child.kill("drain")

    async def _watch_parent(self) -> None:
        if self._settings.parent is not None:
            await Lifeline(0).wait_gone()
            self._kill_all()

    def _say(self, text: str) -> None:
        print(f"[{self._settings.pool}] {text}", file=sys.stderr, flush=True)


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
    if settings.start_method == "forkserver":
        _start_fork_server(settings)
    try:
        trio.run(Agent(settings).run)
    except MaitredError as error:
        sys.exit(f"[{settings.pool}] the broker refused this agent: {error.message}")


def _start_fork_server(settings: AgentSettings) -> None:
    """Start it from the main thread, with which it dies; it imports while the agent goes on."""
    os.environ[ENVIRONMENT_KEY] = json.dumps([os.getpid(), settings.adapter, list(settings.path)])
    multiprocessing.get_context("forkserver").set_forkserver_preload(["maitred.worker.preload"])
    forkserver.ensure_running()
    del os.environ[ENVIRONMENT_KEY]
