"""`maitred up`: one broker and one agent per pool, started together, watched, restarted, and ended in the right order.

SIGTERM: the broker refuses what is new, waits for what runs, and ends; then the agents do. A second one ends all at once.
A broker or an agent that dies is started again; an agent's workers end with it, a broker's clients and workers find the
new one by themselves.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType

import msgspec
import trio

from maitred.broker.process import Bound
from maitred.cli import settings
from maitred.cli.output import Exit
from maitred.cli.processes import ChildProcess, StartError, start_agent, start_broker
from maitred.client import Client
from maitred.client.errors import MaitredError
from maitred.config import Config
from maitred.worker.agent_settings import AgentSettings

__all__ = ["House", "run_agent", "run_house"]

READY_POLL_S = 0.03
"""How often the broker is asked whether the workers are there."""

FIRST_NOTICE_S = 5.0
NOTICE_S = 60.0
"""When, and then how often, the user is told which workers are not there yet."""

RESTART_FIRST_S = 0.1
RESTART_LONGEST_S = 10.0
"""Pause before a process that died is started again; it doubles with each death within STEADY_S of its start."""

STEADY_S = 10.0

KILL_AFTER_S = 5.0
"""Beyond the drain time a process may take so long to end before it is killed."""


class House:
    """A broker and its agents.

    Args:
        config: what to run.
        log_level, log_format: of the broker's log.
    """

    def __init__(self, config: Config, log_level: str, log_format: str) -> None:
        self._config = config
        self._log = (log_level, log_format)
        self._broker: ChildProcess | None = None
        self._agents: dict[str, ChildProcess] = {}
        self._stopping = trio.Event()
        self._forced = False
        self._bound = Bound([], [], 0)
        self._pools = [name for name, pool in config.pools.items() if pool.adapter is not None and pool.size.min]

    async def run(self) -> int:
        """Run until a signal; returns the exit code."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._obey_signals)
            nursery.start_soon(self._start_and_watch)
            await self._stopping.wait()
            await self._end()
            nursery.cancel_scope.cancel()
        return Exit.FAILED if self._forced else Exit.FINE

    # --- starting ---

    async def _start_and_watch(self) -> None:
        began = time.monotonic()
        self._start_broker()
        for name in self._pools:
            self._start_agent(name)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, self._broker_now, self._start_broker, "the broker")
            for name in self._pools:
                nursery.start_soon(self._watch, *self._agent_verbs(name))
            await self._announce(began)

    def _start_broker(self) -> None:
        told = settings.of_broker(self._config, *self._log, parent=os.getpid())
        if self._bound.pid:  # the system may have chosen the ports: who is started again comes back to them
            told = msgspec.structs.replace(told, clients=self._bound.clients[-1], workers=self._bound.workers[-1])
        self._broker, self._bound = start_broker(told)

    def _start_agent(self, name: str) -> None:
        told = settings.of_agent(self._config, name, self._bound.workers[0], self._bound.clients[0], parent=os.getpid())
        self._agents[name] = start_agent(told)

    def _broker_now(self) -> ChildProcess:
        assert self._broker is not None
        return self._broker

    def _agent_verbs(self, name: str) -> tuple[Callable[[], ChildProcess], Callable[[], None], str]:
        return lambda: self._agents[name], lambda: self._start_agent(name), f"the agent of pool {name!r}"

    async def _watch(self, now: Callable[[], ChildProcess], start: Callable[[], None], what: str) -> None:
        pause = RESTART_FIRST_S
        while True:
            began = time.monotonic()
            code = await now().ended()
            if self._stopping.is_set():
                return
            pause = RESTART_FIRST_S if time.monotonic() - began > STEADY_S else min(2 * pause, RESTART_LONGEST_S)
            _say(f"{what} ended with {_describe(code)}; started again in {pause:g} s")
            with trio.move_on_after(pause):
                await self._stopping.wait()
                return
            try:
                start()
            except StartError as error:
                _say(str(error))

    async def _announce(self, began: float) -> None:
        """Print the ready line once all workers are there; say what is missing while they are not."""
        rows = await trio.to_thread.run_sync(self._wait_ready, abandon_on_cancel=True)
        took = time.monotonic() - began
        pools = ", ".join(f"{row['name']} {row['total']}" for row in rows)
        print(f"maitred ready in {took:.1f} s: clients {self._bound.clients[-1]} {self._bound.clients[0]}, "
              f"workers {self._bound.workers[-1]}, pools: {pools}", flush=True)  # fmt: skip

    def _wait_ready(self) -> list[dict[str, object]]:
        said = ""
        notice_at = time.monotonic() + FIRST_NOTICE_S
        with Client(self._bound.clients[0]) as client:
            while True:
                rows = client.pools()
                bad = [row for row in rows if row["degraded"]]
                degraded = "; ".join(f"pool {row['name']!r} is degraded: {row['degraded']}" for row in bad)
                if degraded and degraded != said:
                    _say(degraded)
                    said = degraded
                here = {row["name"]: row["total"] for row in rows}
                wanted = {name: self._config.pools[name].size.min for name in self._pools}
                if all(here[name] >= wanted[name] for name in wanted):
                    return rows
                if time.monotonic() > notice_at:
                    missing = [f"{name} {here[name]} of {wanted[name]}" for name in wanted if here[name] < wanted[name]]
                    _say(f"still waiting for workers: {', '.join(missing)}; calls wait, or go to those that are there")
                    notice_at = time.monotonic() + NOTICE_S
                time.sleep(READY_POLL_S)

    # --- ending ---

    async def _obey_signals(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async for _ in signals:
                if self._stopping.is_set():
                    self._forced = True
                    for process in self._alive():
                        process.force()
                else:
                    _say("stopping: what runs is finished first; once more ends it at once")
                    self._stopping.set()

    def _alive(self) -> list[ChildProcess]:
        processes = [self._broker, *self._agents.values()]
        return [process for process in processes if process is not None and process.exit_code is None]

    async def _end(self) -> None:
        """The broker first, as it knows what still runs; the agents when nothing does."""
        limit = self._config.broker.drain_timeout_s + KILL_AFTER_S
        for processes in ([self._broker], list(self._agents.values())):
            alive = [process for process in processes if process is not None and process.exit_code is None]
            for process in alive:
                process.terminate()
            with trio.move_on_after(limit):
                for process in alive:
                    await process.ended()
            for process in alive:
                if process.exit_code is None:
                    self._forced = True
                    process.kill()


def run_house(config: Config, log_level: str, log_format: str) -> int:
    """Run a house until a signal; returns the exit code."""
    try:
        return trio.run(House(config, log_level, log_format).run)
    except* StartError as group:
        for error in group.exceptions:
            _say(str(error))
    except* MaitredError as group:
        for error in group.exceptions:
            _say(f"{type(error).__name__}: {error}")
    return Exit.FAILED


def run_agent(told: AgentSettings) -> int:
    """Run one agent until a signal; returns the exit code."""
    process = start_agent(told)

    def end(_number: int, _frame: FrameType | None) -> None:
        process.terminate()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    code = process.wait()
    return Exit.FINE if code == 0 else Exit.FAILED


def _describe(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _say(text: str) -> None:
    print(f"maitred: {text}", file=sys.stderr, flush=True)
