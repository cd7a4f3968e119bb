"""A house: one broker and one agent per pool, started together, watched, restarted, and ended in the right order.

SIGTERM: the broker refuses what is new, waits for what runs, and ends; then the agents do. A second one ends all at once.
SIGHUP is passed on to the broker, which reads again whose keys may do what; the end of the terminal is a SIGTERM.
A broker or an agent that dies is started again (`supervision`); an agent's workers end with it, a broker's clients and
workers find the new one by themselves.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from types import FrameType

import msgspec
import trio

from maitred.broker.bound import Bound
from maitred.launcher.house_settings import HouseSettings
from maitred.launcher.processes import ChildProcess, StartError, launch_broker, listening, start_agent
from maitred.launcher.supervision import Kept, say
from maitred.transport.lifeline import Lifeline
from maitred.transport.systemd import SHARE, notify, watchdog_s
from maitred.transport.terminal import Terminal
from maitred.worker.agent_settings import AgentSettings

__all__ = ["House", "run_agent"]

STOPPING = "stopping: what runs is finished first; once more ends it at once"

KILL_AFTER_S = 5.0
"""Beyond the drain time a process may take so long to end before it is killed."""


class House:
    """A broker and its agents.

    Args:
        told: what to run.
        on_started: awaited when broker and agents have been started and are watched; told where the broker listens.
        lifeline: held by whoever the house belongs to: at its end all of it ends at once.
    """

    def __init__(
        self,
        told: HouseSettings,
        *,
        on_started: Callable[[Bound], Awaitable[None]] | None = None,
        lifeline: Lifeline | None = None,
    ) -> None:
        self._told = told
        self._on_started = on_started
        self._lifeline = lifeline
        self._terminal = Terminal()
        self._stopping = trio.Event()
        self._failed = False
        self._bound = Bound([], [], 0)
        self._broker = Kept("the broker", self._launch_broker, self._note_bound)
        self._agents = [
            Kept(f"the agent of pool {agent.pool!r}", partial(self._launch_agent, agent)) for agent in told.agents
        ]

    async def run(self) -> bool:
        """Run until a signal, or end at once where the broker does not start; returns whether it ended as it should."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._obey_signals)
            nursery.start_soon(self._obey_lifeline)
            nursery.start_soon(self._feed_watchdog)
            async with trio.open_nursery() as watching:
                watching.start_soon(self._start_and_watch)
                await self._stopping.wait()
                watching.cancel_scope.cancel()
            await self._end()
            nursery.cancel_scope.cancel()
        return not self._failed

    # --- starting ---

    async def _start_and_watch(self) -> None:
        try:
            await self._broker.start()
        except StartError as error:  # the first time nothing is lost by ending: its port is taken, as a rule
            say(str(error))
            self._failed = True
            self._stopping.set()
            return
        for agent in self._agents:
            await agent.start()
        async with trio.open_nursery() as nursery:
            for each in (self._broker, *self._agents):
                nursery.start_soon(each.keep)
            if self._on_started is not None:
                await self._on_started(self._bound)

    async def _feed_watchdog(self) -> None:
        """In the broker's place, while there is none: it comes back, or has ended and the agents finish."""
        granted_s = watchdog_s()
        while granted_s is not None:
            broker = self._broker.process
            if broker is None or broker.exit_code is not None or broker.pid != self._bound.pid:
                notify(WATCHDOG="1")
            await trio.sleep(granted_s * SHARE)

    def _launch_broker(self) -> ChildProcess:
        told = msgspec.structs.replace(self._told.broker, parent=os.getpid())
        if self._bound.pid:  # the system may have chosen the ports: who is started again comes back to them
            clients, workers = self._bound.clients[-1], self._bound.workers[-1]
            http, majordomo = self._bound.http, self._bound.majordomo
            told = msgspec.structs.replace(told, clients=clients, workers=workers, http=http, majordomo=majordomo)
        return launch_broker(told)

    async def _note_bound(self, broker: ChildProcess) -> None:
        self._bound = await listening(broker)

    def _launch_agent(self, told: AgentSettings) -> ChildProcess:
        it = self._bound
        return start_agent(
            msgspec.structs.replace(
                told,
                endpoint=it.workers[0],
                clients_endpoint=it.clients[0],
                secret=it.secret,
                parent=os.getpid(),
                broker_first=True,
            )
        )

    # --- ending ---

    async def _obey_signals(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            task_status.started()
            async for number in signals:
                if number == signal.SIGHUP and not self._terminal.is_gone():
                    self._reload_broker()
                elif self._stopping.is_set():
                    self._failed = True
                    self._force()
                else:
                    if self._lifeline is None:  # who has one sends the signal itself
                        say(STOPPING)
                    notify(STOPPING="1", STATUS="finishing what runs")
                    self._stopping.set()

    async def _obey_lifeline(self) -> None:
        if self._lifeline is not None:
            await self._lifeline.wait_gone()
            self._force()
            self._stopping.set()

    def _force(self) -> None:
        for process in _alive([self._broker, *self._agents]):
            process.force()

    def _reload_broker(self) -> None:
        for process in _alive([self._broker]):
            if process.pid == self._bound.pid:  # one that just starts would end by it, and reads the file anyway
                process.reload()

    async def _end(self) -> None:
        """The broker first, as it knows what still runs; the agents when nothing does."""
        drains = [agent.drain_timeout_s for agent in self._told.agents]
        broker = self._told.broker
        for kept, drain_s in (
            ([self._broker], broker.drain_delay_s + broker.drain_timeout_s),
            (self._agents, max(drains, default=0)),
        ):
            alive = _alive(kept)
            for process in alive:
                process.terminate()
            with trio.move_on_after(drain_s + KILL_AFTER_S):
                for process in alive:
                    await process.ended()
            for process in alive:
                if process.exit_code is None:
                    self._failed = True
                    process.kill()


def run_agent(told: AgentSettings) -> bool:
    """Run one agent until a signal; returns whether it ended as it should."""
    process = start_agent(told, speaks=True)
    stopping = False

    def end(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        if not stopping:
            say(STOPPING)
        stopping = True
        process.terminate()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    return process.wait() == 0


def _alive(kept: Sequence[Kept]) -> list[ChildProcess]:
    return [each.process for each in kept if each.process is not None and each.process.exit_code is None]
