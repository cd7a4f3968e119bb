"""The processes of a running house: one broker, one agent per pool. How each is started, watched and ended.

They are started from the main thread, with whose end the kernel ends them; each is told its settings by a line of JSON
on its standard input, which stays open as its life-line. A session of their own keeps a terminal's Ctrl-C from them:
who started them decides in which order they end.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys

import msgspec
import trio

from maitred.broker.bound import Bound
from maitred.broker.settings import BrokerSettings
from maitred.transport.systemd import VARIABLES
from maitred.worker.agent_settings import AgentSettings

__all__ = ["ChildProcess", "StartError", "launch_broker", "listening", "start_agent", "start_broker"]

POLL_S = 0.05
"""How often a process is asked whether it lives, where the system has no descriptor for that (not Linux)."""

BIND_TIMEOUT_S = 20.0
"""Within this a broker has to say where it listens: it imports a handful of libraries and binds four sockets."""


class StartError(RuntimeError):
    """A process did not start, or what it is to serve did not; its own words are on standard error."""


class ChildProcess:
    """One of ours.

    Args:
        module: whose `function` is called in it.
        settings: its first line of input.
        reports: whether it says something on standard output.
        speaks: whether it speaks to the service manager, if there is one.
    """

    def __init__(
        self, module: str, function: str, settings: msgspec.Struct, *, reports: bool = False, speaks: bool = True
    ) -> None:
        # Not `-m`: multiprocessing would import a main module that has a name again in each worker.
        command = [sys.executable, "-c", f"from {module} import {function}; {function}()"]
        self._popen: subprocess.Popen[bytes] = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if reports else sys.stderr.fileno(),
            start_new_session=True,
            env={name: value for name, value in os.environ.items() if speaks or name not in VARIABLES},
        )
        assert self._popen.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died: whoever waits for it is told
            self._popen.stdin.write(msgspec.json.encode(settings) + b"\n")
            self._popen.stdin.flush()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """None while it lives."""
        return self._popen.poll()

    def read_report(self, timeout_s: float) -> bytes:
        """The first line it says; empty when it ended, or said nothing in time."""
        assert self._popen.stdout is not None
        poll = select.poll()  # not `select`, which cannot wait for the descriptors above 1023 of a busy application
        poll.register(self._popen.stdout, select.POLLIN)
        return self._popen.stdout.readline() if poll.poll(timeout_s * 1000) else b""

    async def wait_report(self) -> None:
        """Return when there is something to read, or it has ended. Under trio."""
        assert self._popen.stdout is not None
        await trio.lowlevel.wait_readable(self._popen.stdout)

    def terminate(self) -> None:
        """Ask it to finish what runs, and end."""
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGTERM)

    def reload(self) -> None:
        """Ask it to read again what it can while it runs."""
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGHUP)

    def force(self) -> None:
        """Have it end at once, with all its own: by its life-line, as a second SIGTERM may be merged with the first."""
        assert self._popen.stdin is not None
        with contextlib.suppress(OSError):
            self._popen.stdin.close()

    def kill(self) -> None:
        """SIGKILL."""
        self._popen.kill()

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait for its end, in this thread; returns the exit code.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        try:
            return self._popen.wait(timeout_s)
        finally:
            if self._popen.returncode is not None:
                self._close()

    async def ended(self) -> int:
        """Wait for its end, under trio; returns the exit code."""
        if self._popen.poll() is not None:  # somebody else waited for it too, and the kernel has forgotten it
            await trio.lowlevel.checkpoint()
        elif hasattr(os, "pidfd_open"):
            descriptor = os.pidfd_open(self.pid)
            try:
                await trio.lowlevel.wait_readable(descriptor)
            finally:
                os.close(descriptor)
        else:
            while self._popen.poll() is None:  # noqa: ASYNC110 - there is nothing to wait for but the clock
                await trio.sleep(POLL_S)
        return self.wait()

    def _close(self) -> None:
        for stream in (self._popen.stdin, self._popen.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def start_broker(settings: BrokerSettings) -> tuple[ChildProcess, Bound]:
    """Start a broker and wait, in this thread, until it listens.

    Raises:
        StartError: it ended, or did not say in time that it listens.
    """
    process = launch_broker(settings)
    return process, _bound(process, BIND_TIMEOUT_S)


def launch_broker(settings: BrokerSettings) -> ChildProcess:
    """Start a broker. `listening` waits until it does so."""
    return ChildProcess("maitred.broker.process", "child", settings, reports=True)


async def listening(process: ChildProcess) -> Bound:
    """Wait, under trio, until a broker that was launched listens; returns where.

    Raises:
        StartError: it ended, or did not say so in time; it is killed.
    """
    with trio.move_on_after(BIND_TIMEOUT_S):
        await process.wait_report()
    return _bound(process, 0)


def _bound(process: ChildProcess, timeout_s: float) -> Bound:
    line = process.read_report(timeout_s)
    if not line:
        process.kill()
        process.wait()
        raise StartError("the broker did not start")
    return msgspec.json.decode(line, type=Bound)


def start_agent(settings: AgentSettings, *, speaks: bool = False) -> ChildProcess:
    """Start the agent of one pool. It connects, and starts its workers, by itself. `speaks`: it is all of a unit."""
    return ChildProcess("maitred.worker.agent", "main", settings, speaks=speaks)
