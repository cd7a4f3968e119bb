"""A process that is started again when it dies, later each time it does so soon: the broker and the agents of a house."""

from __future__ import annotations

import signal
import sys
from collections.abc import Awaitable, Callable

import trio

from maitred.launcher.processes import ChildProcess, StartError
from maitred.worker.backoff import Backoff

__all__ = ["Kept", "say"]

RESTART_FIRST_S = 0.1
RESTART_LONGEST_S = 10.0
"""Who dies for the first time in a while is started again at once; who goes on dying waits so long, doubled each time."""


class Kept:
    """One process of a house.

    Args:
        what: it is called in messages.
        launch: starts it, in the main thread, with whose end the kernel ends it.
        ready: returns when it has come up.

    Attributes:
        process: the one that runs, or the last that did.
    """

    def __init__(
        self,
        what: str,
        launch: Callable[[], ChildProcess],
        ready: Callable[[ChildProcess], Awaitable[None]] | None = None,
    ) -> None:
        self.process: ChildProcess | None = None
        self._what = what
        self._launch = launch
        self._ready = ready
        self._backoff = Backoff(RESTART_FIRST_S, RESTART_LONGEST_S)

    async def start(self) -> None:
        """Start it, and wait until it has come up.

        Raises:
            StartError: it has not.
        """
        self.process = self._launch()
        if self._ready is not None:
            await self._ready(self.process)

    async def keep(self) -> None:
        """Start it again whenever it has ended, until cancelled, which leaves it as it is."""
        came_up = True
        while True:
            began = trio.current_time()
            failure = await self._death() if came_up else "did not come up"
            pause = self._backoff.died(trio.current_time() - began, came_up)
            say(f"{self._what} {failure}; started again {f'in {pause:g} s' if pause else 'at once'}")
            await trio.sleep(pause)
            came_up = await self._comes_up()

    async def _death(self) -> str:
        assert self.process is not None
        code = await self.process.ended()
        return f"ended with {signal.Signals(-code).name if code < 0 else f'exit code {code}'}"

    async def _comes_up(self) -> bool:
        try:
            await self.start()
        except StartError:
            return False
        return True


def say(text: str) -> None:
    """One line to whoever runs the house."""
    print(f"maitred: {text}", file=sys.stderr, flush=True)
