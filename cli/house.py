"""`maitred up`: one broker and one agent per pool, started together, watched, restarted, and ended in the right order.

SIGTERM: the broker refuses what is new, waits for what runs, and ends; then the agents do. A second one ends all at once.
SIGHUP is passed on to the broker, which reads again whose keys may do what; the end of the terminal is a SIGTERM.
A broker or an agent that dies is started again (`supervision`); an agent's workers end with it, a broker's clients and
workers find the new one by themselves.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from functools import partial
from types import FrameType

import msgspec
import trio

from maitred.broker.process import Bound
from maitred.cli import settings
from maitred.cli.output import Exit
from maitred.cli.processes import ChildProcess, StartError, launch_broker, listening, start_agent
from maitred.cli.readiness import described, wait_ready
from maitred.cli.supervision import Kept, say
from maitred.config import Config
from maitred.transport.systemd import SHARE, notify, watchdog_s
from maitred.transport.terminal import Terminal
from maitred.worker.agent_settings import AgentSettings

__all__ = ["House", "run_agent", "run_house"]

STOPPING = "stopping: what runs is finished first; once more ends it at once"

KILL_AFTER_S = 5.0
"""Beyond the drain time a process may take so long to end before it is killed."""


class House:
    """A broker and its agents.

    Args:
        config: what to run.
        log_level, log_format: of the broker's log.
        reload: whether a change of an adapter's files replaces its workers.
    """

    def __init__(self, config: Config, log_level: str, log_format: str, *, reload: bool = False) -> None:
        self._config = config
        self._log = (log_level, log_format)
        self._reload = reload
        self._terminal = Terminal()
        self._stopping = trio.Event()
        self._exit = Exit.FINE
        self._bound = Bound([], [], 0)
        # A pool that is empty while nobody calls needs an agent too: to start workers when somebody does.
        self._wanted = {name: pool.size.min for name, pool in config.pools.items() if pool.adapter and pool.size.max}
        self._broker = Kept("the broker", self._launch_broker, self._note_bound)
        self._agents = [Kept(f"the agent of pool {name!r}", partial(self._launch_agent, name)) for name in self._wanted]

    async def run(self) -> int:
        """Run until a signal, or end at once where the broker does not start; returns the exit code."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._obey_signals)
            nursery.start_soon(self._feed_watchdog)
            async with trio.open_nursery() as watching:
                watching.start_soon(self._start_and_watch)
                await self._stopping.wait()
                watching.cancel_scope.cancel()
            await self._end()
            nursery.cancel_scope.cancel()
        return self._exit

    # --- starting ---

    async def _start_and_watch(self) -> None:
        began = time.monotonic()
        try:
            await self._broker.start()
        except StartError as error:  # the first time nothing is lost by ending: its port is taken, as a rule
            say(str(error))
            self._exit = Exit.FAILED
            self._stopping.set()
            return
        for agent in self._agents:
            await agent.start()
        async with trio.open_nursery() as nursery:
            for each in (self._broker, *self._agents):
                nursery.start_soon(each.keep)
            await self._announce(began)

    async def _feed_watchdog(self) -> None:
        """In the broker's place, while there is none: it comes back, or has ended and the agents finish."""
        granted_s = watchdog_s()
        while granted_s is not None:
            broker = self._broker.process
            if broker is None or broker.exit_code is not None or broker.pid != self._bound.pid:
                notify(WATCHDOG="1")
            await trio.sleep(granted_s * SHARE)

    def _launch_broker(self) -> ChildProcess:
        told = settings.of_broker(self._config, *self._log, parent=os.getpid())
        if self._bound.pid:  # the system may have chosen the ports: who is started again comes back to them
            clients, workers = self._bound.clients[-1], self._bound.workers[-1]
            http, majordomo = self._bound.http, self._bound.majordomo
            told = msgspec.structs.replace(told, clients=clients, workers=workers, http=http, majordomo=majordomo)
        return launch_broker(told)

    async def _note_bound(self, broker: ChildProcess) -> None:
        self._bound = await listening(broker)

    def _launch_agent(self, name: str) -> ChildProcess:
        workers, clients = self._bound.workers[0], self._bound.clients[0]
        told = settings.of_agent(self._config, name, workers, clients, parent=os.getpid(), reload=self._reload)
        return start_agent(msgspec.structs.replace(told, secret=self._bound.secret))

    async def _announce(self, began: float) -> None:
        """Print the ready line once nothing more is to be waited for."""
        rows = await trio.to_thread.run_sync(wait_ready, self._bound.clients[0], self._wanted, abandon_on_cancel=True)
        it = self._bound
        http = f"http://{it.http}, " if it.http else ""
        print(f"maitred ready in {time.monotonic() - began:.1f} s: clients {it.clients[-1]} {it.clients[0]}, "
              f"workers {it.workers[-1]}, {http}pools: {described(rows, self._wanted)}", flush=True)  # fmt: skip
        notify(READY="1", STATUS=f"serving {described(rows, self._wanted)}")

    # --- ending ---

    async def _obey_signals(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            task_status.started()
            async for number in signals:
                if number == signal.SIGHUP and not self._terminal.is_gone():
                    self._reload_broker()
                elif self._stopping.is_set():
                    self._exit = Exit.FAILED
                    for process in _alive([self._broker, *self._agents]):
                        process.force()
                else:
                    say(STOPPING)
                    notify(STOPPING="1", STATUS="finishing what runs")
                    self._stopping.set()

    def _reload_broker(self) -> None:
        for process in _alive([self._broker]):
            if process.pid == self._bound.pid:  # one that just starts would end by it, and reads the file anyway
                process.reload()

    async def _end(self) -> None:
        """The broker first, as it knows what still runs; the agents when nothing does."""
        drains = [pool.drain_timeout_s for pool in self._config.pools.values()]
        for kept, drain_s in (
            ([self._broker], self._config.broker.drain_delay_s + self._config.broker.drain_timeout_s),
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
                    self._exit = Exit.FAILED
                    process.kill()


def run_house(config: Config, log_level: str, log_format: str, *, reload: bool = False) -> int:
    """Run a house until a signal; returns the exit code."""
    return trio.run(House(config, log_level, log_format, reload=reload).run)


def run_agent(told: AgentSettings) -> int:
    """Run one agent until a signal; returns the exit code."""
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
    code = process.wait()
    return Exit.FINE if code == 0 else Exit.FAILED


def _alive(kept: Sequence[Kept]) -> list[ChildProcess]:
    return [each.process for each in kept if each.process is not None and each.process.exit_code is None]
