"""One worker process as its agent sees it: start it, read what it prints, know of its death, write its certificate.

It is asked to go (`terminate`) or killed, each for a cause: the certificate's, unless it died of something else on its way.
"""

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

    Args:
        worker: its 128-bit id.
        settings: the agent's.
        lifeline: its end means that the agent is gone.
        spare: it waits, once it has loaded, until it is let through.

    Attributes:
        id: as given.
        pid: of the process; 0 until there is one.
        doom: why the agent killed it, if it did: a cause of death certificates.
        peak_rss, memory, memory_limit, gpu_bytes: as in its certificate.
        forked_by: process id of the fork server that it came from; 0: it was spawned.
        orphaned: it ended with its fork server.
        dead, buried: set when it is; `close` buries it.
        spare: whether it still waits to be let through.
    """

    def __init__(
        self,
        worker: bytes,
        settings: AgentSettings,
        lifeline: int,
        *,
        spare: bool = False,
    ) -> None:
        self.id = worker
        self.pid = 0
        self.doom: str | None = None
        self.peak_rss = 0
        self.memory: int | None = None
        self.memory_limit: int | None = None
        self.gpu_bytes = 0
        self.forked_by = 0
        self.dead = trio.Event()
        self.buried = trio.Event()
        self.started_at = time.monotonic()
        self.page = StartedPage(MAX_SLOTS)
        self._farewell: str | None = None
        self.orphaned = False
        self.spare = spare
        self._output = Output(f"[{settings.pool}]", self.page.running)
        gate, self._gate = os.pipe() if spare else (-1, -1)
        self._handed_over = [gate] if spare else []
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
            settings.warm_up,
            Inherited(gate) if spare else None,
            key_file=settings.key_file,
            secret=settings.secret,
        )

    async def start(
        self, context: ForkServerContext | SpawnContext, environment: tuple[tuple[str, str], ...] = ()
    ) -> None:
        """Start the process; `environment` is set in it before it does anything else.

        A fork server is asked from a thread, as its first answer waits for the preload. A spawned process is a child of
        the thread that starts it, with which it would die: so from this one, which lives as long as the agent.

        Raises:
            OSError, EOFError: the fork server has ended.
        """
        self._options.environment = environment
        self._process = context.Process(target=start_worker, args=(self._options,), daemon=False)
        try:
            if isinstance(context, SpawnContext):
                self._process.start()
                await trio.lowlevel.checkpoint()
            else:
                await trio.to_thread.run_sync(self._process.start, limiter=_one_at_a_time)
        finally:
            self._output.handed_over()
            for descriptor in self._handed_over:
                os.close(descriptor)
            self._handed_over = []
        self.pid = self._process.pid or 0
        if self.doom is not None:
            self.kill(self.doom)
        elif self._farewell is not None:
            self.terminate(self._farewell)
        self._output.label = f"[{self._options.pool} {self.pid}]"

    async def wait(self) -> None:
        """Return when it is dead: a few milliseconds after, by its sentinel. What it prints is passed on meanwhile."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._output.relay)
            while self._process.exitcode is None:
                await trio.lowlevel.wait_readable(self._process.sentinel)
            nursery.cancel_scope.cancel()
        self._output.finish()
        self.dead.set()

    def let_through(self) -> None:
        """It is no spare one any more."""
        self.spare = False
        with contextlib.suppress(BrokenPipeError):  # it is dead
            os.write(self._gate, b".")
        os.close(self._gate)
        self._gate = -1

    def kill(self, why: str) -> None:
        """Kill it, for a cause that its certificate will name; as soon as there is a process."""
        if not self.dead.is_set():
            self.doom = self.doom or why
            self._signal(signal.SIGKILL)

    @property
    def leaving(self) -> bool:
        """Whether it was asked to end."""
        return bool(self._farewell)

    def terminate(self, why: str) -> None:
        """Ask it to finish what runs, and end, for a cause that its certificate will name."""
        if not self.dead.is_set():
            self._farewell = self._farewell or why
            self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        if self.pid and self._process.exitcode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def mark_orphaned(self) -> None:
        """The fork server that it came from has ended, and the kernel has ended it with that."""
        self.orphaned = True
        with contextlib.suppress(ProcessLookupError):  # nobody knows its exit code; it may not have ended yet
            os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Free what belongs to it, once it is dead, and all was said."""
        self.dead.set()
        self.buried.set()
        self._output.close()
        self.page.close()
        if self._gate >= 0:
            os.close(self._gate)
        if self.pid:
            self._process.close()

    # --- what is known of it ---

    @property
    def exit_code(self) -> int | None:
        """None while it lives; negative for a signal."""
        return -signal.SIGKILL if self.orphaned else self._process.exitcode if self.pid else None

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

    @property
    def killed_by_another(self) -> bool:
        """Whether SIGKILL ended it, and not ours."""
        return self.exit_code == -signal.SIGKILL and self.doom is None

    def runs(self, key: tuple[bytes, int]) -> bool:
        """Whether it runs this request just now."""
        return any((started.client, started.id) == key for started in self.page.running())

    def certificate(self) -> Died:
        """What there is to say of its death."""
        code = self.exit_code or 0
        name = _signal_name(-code) if code < 0 else None
        went = self._farewell if name in (None, "SIGTERM") else None
        cause = self.doom or went or ("signal" if name else "exit")
        certificate = Certificate(
            cause,
            signal=name,
            exit_code=code if code >= 0 and self.pid else None,
            peak_rss=self.peak_rss or None,
            age=self.lived_s,
            served=self.page.served,
            stderr=self.last_words() or None,
            worker=self.id.hex(),
            pid=self.pid or None,
            host=platform.node()[:255],
            memory=self.memory,
            memory_limit=self.memory_limit,
            gpu_bytes=self.gpu_bytes or None,
            note="the fork server that it came from was ended" if self.orphaned else None,
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
