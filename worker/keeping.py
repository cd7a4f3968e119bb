"""Keeps the workers of one agent: does what its fleet decides, and tells it what becomes of them.

    Start       a process, forked or spawned → wait for its death → certificate, DIED, what is left of its group is ended
    End         SIGTERM; who is not ready yet gets SIGKILL soon after, who is when `drain_timeout_s` is over
    drain       where the broker hears it, RETIRE of all: each is ended when it holds no request and no session any more
    LetThrough  a byte through a spare one's gate; SPAWNED again, as it is an ordinary one from now on

Besides it looks whether the adapter's files change. What is seen of memory and GPUs, and what follows, is in
`worker.overseeing`.
"""

from __future__ import annotations

import math
import platform
import sys
from collections import OrderedDict
from collections.abc import Callable

import trio

from maitred.protocol import messages
from maitred.protocol.agent import AgentConnection
from maitred.transport.lifeline import open_lifeline
from maitred.worker.agent_settings import AgentSettings
from maitred.worker.blame import blame
from maitred.worker.child import Child, contexts
from maitred.worker.fleet import Fleet
from maitred.worker.fork_server import ForkServer
from maitred.worker.observing import NoRoom, Observing
from maitred.worker.overseeing import Overseeing
from maitred.worker.preload import EXIT_UNFORKABLE
from maitred.worker.reaper import Reaper
from maitred.worker.reloading import POLL_S, Sources
from maitred.worker.roster import Effect, End, Kill, LetThrough, Retire, Start, Tell

__all__ = ["Keeping"]

REMEMBERED_DEATHS = 1024
"""Deaths that can be told again to a broker that asks for a worker it believes alive."""

ORDERED = frozenset({"cancelled", "timeout", "operator"})
"""Causes of a FENCE for what a worker did: it is replaced at once, however often, as it did not fail by itself."""

UNREADY_GRACE_S = 2.0
"""From SIGTERM to SIGKILL for a worker that is not ready: it has no request, and loading may be deaf to signals."""

EXIT_UNKNOWN = 255
"""What `multiprocessing` says of a worker whose fork server has ended."""

LAST_WORDS_S = 2.0
"""From SIGTERM to SIGKILL when the time for sessions is over: for snapshots of those that are left."""

ENDING_S = 0.2
"""A process that is being ended has ended within a fraction of this."""


class Keeping:
    """The workers.

    Args:
        settings: the agent's.
        connection: the protocol's half.
        flush: sends what it has to say.
        forks: where workers are forked.
        observing: what is seen of them.
        reaper: ends what they leave.
    """

    def __init__(
        self,
        settings: AgentSettings,
        connection: AgentConnection,
        flush: Callable[[], None],
        forks: ForkServer,
        observing: Observing,
        reaper: Reaper,
    ) -> None:
        self._settings = settings
        self._connection = connection
        self._flush = flush
        self._forks = forks
        self._observing = observing
        self._reaper = reaper
        self._fleet = Fleet(settings)
        self._sources = Sources(settings)
        self._imported_by = 0
        self._children: dict[bytes, Child] = {}
        self._overseeing = Overseeing(settings, observing, self._fleet, self._children, self._kick)
        self._deaths: OrderedDict[bytes, messages.Died] = OrderedDict()
        self._method = settings.start_method
        self._starting = trio.Lock()
        self._timer = trio.CancelScope()
        self._draining = trio.Event()
        self._lifeline_of_workers, self._lifeline = open_lifeline()

    async def run(self) -> None:
        """Return when `drain` or `kill_all` was called, and every worker is dead."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._keep)
            nursery.start_soon(self._overseeing.run)
            nursery.start_soon(self._watch_sources)
            await self._draining.wait()
            while self._children:
                await next(iter(self._children.values())).buried.wait()
            nursery.cancel_scope.cancel()

    # --- what the agent asks ---

    def obey(self, order: messages.Fence | messages.Resize | messages.Recycle | messages.Dismiss) -> None:
        """Do what the broker asks for."""
        self._see()
        match order:
            case messages.Fence():
                self._fence(order)
            case messages.Resize():
                self._connection.resized(order.workers)
                self._fleet.resize(order.workers)
            case messages.Recycle():
                if order.cause == "operator" and (file := self._sources.changed()) is not None:
                    self._load_anew(file, order.cause)
                self._fleet.recycle(order.workers, order.cause)
            case messages.Dismiss():
                if (child := self._children.get(order.worker)) is not None:
                    self._dismiss(child, order.cause)
                else:
                    self._tell_death(order.worker)
        self._kick()

    def vouched(self) -> list[bytes]:
        """Workers that are not stopped, and busy within their time."""
        return [child.id for child in self._children.values() if child.look()]

    def states(self) -> list[messages.WorkerState]:
        """What is seen of all of them."""
        return self._observing.states({child.id for child in self._children.values() if child.spare})

    def drain(self) -> None:
        """Have them finish what runs, and end when their sessions have, if there is time; no other is started."""
        self._draining.set()
        if self._starting.locked() and not any(child.pid for child in self._children.values()):
            self._forks.kill()  # it imports still, and nobody else would wait for it
        leaving = [child for child in self._children.values() if child.page.ready]
        if self._settings.broker_first or not self._connection.known:
            leaving = []
        for child in leaving:
            self._connection.retire(child.id, "drain", "its agent ends")
        self._flush()
        if self._connection.outgoing:  # the broker is away, and with it who would call
            leaving = []
        for child in self._children.values():
            if child in leaving:
                self._nursery.start_soon(self._limit_retirement, child)
            else:
                self._end(child, "drain")

    def kill_all(self) -> None:
        """End all of them at once."""
        self._draining.set()
        if self._starting.locked():
            self._forks.kill()
        for child in self._children.values():
            child.kill("drain")

    # --- deciding ---

    async def _keep(self) -> None:
        while not self._draining.is_set():
            self._see()
            for effect in self._fleet.step(trio.current_time()):
                self._do(effect)
            self._flush()
            with trio.CancelScope(deadline=self._fleet.next_deadline(trio.current_time())) as self._timer:
                await trio.sleep_forever()

    def _kick(self) -> None:
        self._timer.deadline = -math.inf

    def _see(self) -> None:
        now = trio.current_time()
        for child in self._children.values():
            self._fleet.see(child.id, now, loaded=child.page.loaded, ready=child.page.ready, served=child.page.served)

    def _do(self, effect: Effect) -> None:
        match effect:
            case Start(worker, spare):
                child = Child(worker, self._settings, self._lifeline_of_workers, spare=spare)
                self._children[worker] = child
                self._nursery.start_soon(self._live, child)
            case LetThrough(worker):
                child = self._children[worker]
                child.let_through()
                self._connection.spawned(worker, child.pid)
            case End(worker, cause):
                self._end(self._children[worker], cause)
            case Kill(worker):
                self._kill_late(self._children[worker])
            case Retire(worker, cause, note):
                self._say(f"worker {self._children[worker].pid} is replaced ({cause}{note and ': '}{note})")
                self._connection.retire(worker, cause, note)
            case Tell(reason):
                self._say(f"degraded: {reason}" if reason else "no longer degraded")
                self._connection.degraded(reason)

    def _end(self, child: Child, cause: str) -> None:
        child.terminate(cause)
        self._nursery.start_soon(self._limit_end, child, cause)

    def _dismiss(self, child: Child, cause: str) -> None:
        if not self._draining.is_set():
            self._fleet.dismiss(child.id, cause)
        elif not child.leaving:  # the fleet decides nothing any more
            self._end(child, cause)

    async def _limit_retirement(self, child: Child) -> None:
        with trio.move_on_after(self._settings.drain_timeout_s):
            await child.dead.wait()
        child.terminate("drain")
        with trio.move_on_after(LAST_WORDS_S):
            await child.dead.wait()
        child.kill("drain")

    async def _limit_end(self, child: Child, cause: str) -> None:
        grace_s = min(UNREADY_GRACE_S, self._settings.drain_timeout_s)
        with trio.move_on_after(grace_s):
            await child.dead.wait()
        if not child.dead.is_set() and child.page.ready:
            with trio.move_on_after(self._settings.drain_timeout_s - grace_s):
                await child.dead.wait()
        child.kill(cause)

    def _kill_late(self, child: Child) -> None:
        if child.doom is None:
            self._say(f"worker {child.pid} had not loaded within {self._settings.startup_timeout_s:g} s: killed")
        child.kill("timeout")

    # --- one worker's life ---

    async def _live(self, child: Child) -> None:
        problem = ""
        try:
            await self._start(child)
        except NoRoom as error:
            problem = str(error)
        except (OSError, EOFError):
            problem = "the fork server ended while it imported the adapter, or forked"
        if child.pid:
            await child.wait()
            await self._find_orphaned(child)
        self._bury(child, problem)

    async def _start(self, child: Child) -> None:
        async with self._starting:
            if child.doom is not None or self._draining.is_set():
                return
            environment = await self._observing.place(child.id)
            if self._method == "forkserver":
                self._forks.ensure()
                child.forked_by = self._forks.pid
            started = trio.CancelScope()
            self._nursery.start_soon(self._limit_start, started)
            try:
                await child.start(contexts()[self._method], environment)
            finally:
                started.cancel()
        self._observing.adopt(child.id, child.pid)
        self._reaper.watch(child.pid)
        self._fleet.spawned(child.id, trio.current_time())
        self._note_imported(child)
        self._connection.spawned(child.id, child.pid)
        if child.spare:  # at once: it would be taken for one that is about to serve
            self._connection.report([messages.WorkerState(child.id, spare=True)])
        self._flush()
        if self._draining.is_set():
            self._end(child, "drain")

    async def _limit_start(self, started: trio.CancelScope) -> None:
        with started:
            await trio.sleep(self._settings.startup_timeout_s)
            self._say(f"no worker was started within {self._settings.startup_timeout_s:g} s: the fork server is ended")
            self._forks.kill()

    def _note_imported(self, child: Child) -> None:
        if child.forked_by != self._imported_by:
            self._imported_by = child.forked_by
            self._sources.note(self._forks.imported())

    async def _find_orphaned(self, child: Child) -> None:
        """Find out whether it ended with its fork server; the kernel closes that one's files before it has ended."""
        if child.exit_code == EXIT_UNKNOWN and child.forked_by:
            with trio.move_on_after(ENDING_S):
                while not self._forks.is_dead(child.forked_by):  # noqa: ASYNC110 - nothing tells of it but this
                    await trio.sleep(ENDING_S / 100)
                child.mark_orphaned()

    def _bury(self, child: Child, problem: str) -> None:
        self._see()
        del self._children[child.id]
        death = self._certify(child)
        self._connection.died(death)
        self._flush()
        if child.pid:
            self._reaper.forget(child.pid)
        unforkable = child.exit_code == EXIT_UNFORKABLE and self._method == "forkserver"
        if unforkable:
            self._say("the adapter cannot be forked (see above): this pool's workers are spawned")
            self._method = "spawn"
        ordered = child.orphaned or unforkable or (child.page.ready and child.doom in ORDERED)
        reason = problem or blame(death.certificate)
        self._fleet.died(child.id, trio.current_time(), reason, ordered=ordered)
        child.close()
        self._forks.keep({child.forked_by for child in self._children.values()})
        self._kick()

    def _certify(self, child: Child) -> messages.Died:
        remains = self._observing.last_look(child.id)
        child.peak_rss = max(child.peak_rss, remains.peak)
        child.gpu_bytes = remains.gpu_bytes
        if remains.oom_killed and child.killed_by_another:
            child.doom = "oom"
            child.memory, child.memory_limit = remains.peak, self._settings.memory_limit_bytes
        death = self._deaths[child.id] = child.certificate()
        if len(self._deaths) > REMEMBERED_DEATHS:
            self._deaths.popitem(last=False)
        return death

    def _fence(self, fence: messages.Fence) -> None:
        child = self._children.get(fence.worker)
        if child is None:
            self._tell_death(fence.worker)
        elif fence.only is None or child.runs(fence.only):
            why = "has gone silent" if fence.cause == "heartbeat" else f"does not stop ({fence.cause})"
            self._say(f"worker {child.pid} {why}: killed")
            child.kill(fence.cause)

    def _tell_death(self, worker: bytes) -> None:
        unknown = messages.Certificate("exit", worker=worker.hex(), host=platform.node()[:255])
        self._connection.died_again(self._deaths.get(worker, messages.Died(worker, unknown)))

    # --- the adapter's files ---

    async def _watch_sources(self) -> None:
        while self._settings.reload:
            await trio.sleep(POLL_S)
            if (file := self._sources.changed()) is not None:
                self._see()
                self._load_anew(file, "recycle")
                self._fleet.recycle(list(self._children), "recycle", f"{file} has changed")
                self._kick()

    def _load_anew(self, file: str, cause: str) -> None:
        self._say(f"{file} has changed: workers are started with the new code")
        if self._method == "forkserver":
            self._forks.replace()
        self._fleet.discard_unready(cause)

    def _say(self, text: str) -> None:
        print(f"[{self._settings.pool}] {text}", file=sys.stderr, flush=True)
