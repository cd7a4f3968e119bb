"""From an adapter that is imported to a worker that may register: startup, warm-up, and for a spare the gate.

    startup → warm-up → "loaded" on the started page → the gate → register

A spare has loaded all that a worker needs, and waits at its gate, a pipe: for a byte, when it takes another's place, or for
the pipe's end, when it is not needed any more.
"""

from __future__ import annotations

import os

from maitred.worker.invoke import astart, start
from maitred.worker.requests import Requests
from maitred.worker.warming import WarmUp

__all__ = ["Readiness"]


class Readiness:
    """What is to be done before a worker registers.

    Args:
        requests: the process's.
        warm_up: the commands that it runs for itself.
        gate: a descriptor to wait at, owned by this from here on; None: there is nothing to wait for.
    """

    def __init__(self, requests: Requests, warm_up: WarmUp, gate: int | None) -> None:
        self._requests = requests
        self._warm_up = warm_up
        self._gate = gate

    def reach(self) -> bool:
        """Do it; False where the worker is not needed any more.

        Raises:
            WarmUpError: a command of the warm-up failed.
            BaseException: whatever a startup function raised.
        """
        start(self._requests.service, self._requests.context_of("startup"))
        self._warm_up.run()
        self._requests.page.mark_loaded()
        return self._gate is None or _pass(self._gate)

    async def areach(self, *, in_threads: bool) -> bool:
        """Do so under trio. `in_threads`: plain commands run in threads. Raises as `reach`."""
        await astart(self._requests.service, self._requests.context_of("startup"))
        await self._warm_up.arun(in_threads=in_threads)
        self._requests.page.mark_loaded()
        if self._gate is None:
            return True
        import trio  # here: a worker of plain functions never needs it

        await trio.lowlevel.wait_readable(self._gate)
        return _pass(self._gate)


def _pass(gate: int) -> bool:
    try:
        return bool(os.read(gate, 1))
    finally:
        os.close(gate)
