"""One worker process as its agent sees it: start it, read what it prints, know of its death, write its certificate."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import platform
import signal
import sys
import time
from multiprocessing.context import ForkServerContext, SpawnContext

import trio

from maitred.protocol.limits import MAX_SLOTS
from maitred.protocol.messages import Certificate, Died
from maitred.worker.agent_settings import AgentSettings
from maitred.worker.options import Inherited, WorkerOptions
from maitred.worker.output import Output
from maitred.worker.preload import start_worker
from maitred.worker.started_page import StartedPage

__all__ = ["Child"]

_one_at_a_time = trio.CapacityLimiter(1)
"""`multiprocessing` guards its books against threads only in part."""


class Child:
    """One process. Make it with `start`.

    Attributes:
        id: the worker's 128-bit id.
        pid: of the process.
        doom: why the agent killed it, if it did: a cause of death certificates.
    """

    def __init__(self, settings: AgentSettings, lifeline: int) -> None:
        self.id = os.urandom(16)
        self.doom: str | None = None
        self.peak_rss = 0
        self.started_at = time.monotonic()
        self.page = StartedPage(MAX_SLOTS)
        self._output = Output(f"[{settings.pool}]")
        self._options = WorkerOptions(
            settings.pool,
            settings.adapter,
            settings.path,
            settings.endpoint,
            self.id,
            settings.slots,
            settings.prefetch,
            settings.clients_endpoint,
            os.getpid(),
            self.page,
            Inherited(self._output.descriptor_of_child),
            Inherited(lifeline),
            settings.gc_threshold,
            settings.out_of_band_bytes,
        )

    async def start(self, context: ForkServerContext | SpawnContext) -> None:
        """Start the process.

        A fork server is asked from a thread, as its first answer waits for the preload. A spawned process is a child of
        the thread that starts it, with which it would die: so from this one, which lives as long as the agent.
        """
        self._process = context.Process(target=start_worker, args=(self._options,), daemon=False)
        try:
            if isinstance(context, SpawnContext):
                self._process.start()
                await trio.lowlevel.checkpoint()
            else:
                await trio.to_thread.run_sync(self._process.start, limiter=_one_at_a_time)
        finally:
            self._output.handed_over()
        self.pid = self._process.pid or 0
        self._output.label = f"[{self._options.pool} {self.pid}]"

    async def wait(self) -> None:
        """Return when it is dead: a few milliseconds after, by its sentinel. What it prints is passed on meanwhile."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._output.relay)
            while self._process.exitcode is None:
                await trio.lowlevel.wait_readable(self._process.sentinel)
            nursery.cancel_scope.cancel()
        self._output.finish()

    def kill(self, why: str) -> None:
        """Kill it, for a cause that its certificate will name."""
        if self._process.exitcode is None:
            self.doom = self.doom or why
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to finish what runs, and end."""
        if self._process.exitcode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)

    def close(self) -> None:
        """Free what belongs to it, once it is dead and buried."""
        self._output.close()
        self.page.close()
        self._process.close()

    # --- what is known of it ---

    @property
    def exit_code(self) -> int | None:
        """None while it lives; negative for a signal."""
        return self._process.exitcode

    @property
    def lived_s(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self.started_at

    def look(self) -> bool:
        """Take down its peak memory; returns whether it can be vouched for.

        That is: it is not stopped, and busy with a request whose time is not over.
        """
        try:
            status = _status(self.pid)
        except (OSError, ValueError):
            return False
        self.peak_rss = max(self.peak_rss, status.get("VmHWM", 0))
        now = time.monotonic()
        return not status["stopped"] and any(request.deadline > now for request in self.page.running())

    def runs(self, key: tuple[bytes, int]) -> bool:
        """Whether it runs this request just now."""
        return any((started.client, started.id) == key for started in self.page.running())

    def certificate(self) -> Died:
        """What there is to say of its death."""
        code = self.exit_code or 0
        name = _signal_name(-code) if code < 0 else None
        cause = self.doom or ("signal" if name else "exit")
        certificate = Certificate(
            cause,
            signal=name,
            exit_code=code if code >= 0 else None,
            peak_rss=self.peak_rss or None,
            age=self.lived_s,
            served=self.page.served,
            stderr=self.last_words() or None,
            worker=self.id.hex(),
            pid=self.pid,
            host=platform.node()[:255],
        )
        return Died(self.id, certificate, [(request.client, request.id) for request in self.page.begun()])

    def last_words(self) -> str:
        """The last lines it printed."""
        return self._output.last_words()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _status(pid: int) -> dict[str, int]:
    """Peak memory in bytes and whether the process is stopped; where there is no /proc, what psutil knows."""
    if sys.platform != "linux":
        import psutil

        process = psutil.Process(pid)
        return {"VmHWM": process.memory_info().rss, "stopped": process.status() == psutil.STATUS_STOPPED}
    found = {"stopped": 0}
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith("State:"):
                found["stopped"] = line.split()[1] in "Tt"
            elif line.startswith("VmHWM:"):
                found["VmHWM"] = int(line.split()[1]) * 1024
    return found


def contexts() -> dict[str, ForkServerContext | SpawnContext]:
    """The ways to start a worker."""
    return {
        "forkserver": multiprocessing.get_context("forkserver"),
        "spawn": multiprocessing.get_context("spawn"),
    }
