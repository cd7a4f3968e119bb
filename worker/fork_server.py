"""The process that an agent's workers are forked from: `multiprocessing`'s own, with the adapter's imports done.

It dies with the thread that started it, so `ensure` is called in the main thread before each start: `multiprocessing`
would else start it again by itself, from whatever thread it is in, without the preload.

It holds the code that it has imported for as long as it lives. `replace` lets go of it: the next worker is forked from a
new one, and the old one stays until its workers have ended, who would die with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Container
from multiprocessing import forkserver, get_context
from typing import Any, cast

import psutil

from maitred.worker.agent_settings import AgentSettings
from maitred.worker.preload import ENVIRONMENT_KEY

__all__ = ["ForkServer"]

_server = cast("Any", forkserver)._forkserver
"""There is this one, and no public way to let go of it."""


class ForkServer:
    """The one of this process. All but `is_dead` in the main thread.

    Args:
        settings: what is preloaded.

    Attributes:
        pid: of the present one; 0: it was not started yet.
    """

    def __init__(self, settings: AgentSettings) -> None:
        self.pid = 0
        self._former: dict[int, int] = {}  # process ids, and the pipes whose ends end them
        self._imported = _anonymous_file()
        self._told = json.dumps([os.getpid(), settings.adapter, list(settings.path), self._imported])
        get_context("forkserver").set_forkserver_preload(["maitred.worker.preload"])

    def ensure(self) -> None:
        """See that there is one; it imports while the agent goes on, and forks when it has."""
        self._former = {pid: pipe for pid, pipe in self._former.items() if pipe >= 0 or not _reaped(pid)}
        if _server._forkserver_pid not in (None, self.pid):  # started by a thread, as the last one had just died
            self.replace()
        os.environ[ENVIRONMENT_KEY] = self._told
        try:
            forkserver.ensure_running()
        finally:
            del os.environ[ENVIRONMENT_KEY]
        self.pid = cast("int", _server._forkserver_pid)

    def replace(self) -> None:
        """Fork no more workers from this one: it has old code."""
        with _server._lock:
            if _server._forkserver_pid is None:
                return
            self._former[_server._forkserver_pid] = _server._forkserver_alive_fd
            _server._forkserver_pid = _server._forkserver_alive_fd = _server._forkserver_address = None
        self.pid = 0

    def keep(self, parents: Container[int]) -> None:
        """Let those that were replaced end that are no worker's parent any more."""
        for pid, pipe in self._former.items():
            if pid not in parents and pipe >= 0:
                os.close(pipe)
                self._former[pid] = -1

    def kill(self) -> None:
        """End it at once, and whoever waits for it to fork."""
        if self.pid and not self.is_dead(self.pid):
            os.kill(self.pid, signal.SIGKILL)

    def is_dead(self, pid: int) -> bool:
        """Whether this one, the present or a former, has ended; its workers have with it."""
        try:
            return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    def imported(self) -> dict[str, int]:
        """Stamps of the files that were preloaded (`worker.reloading`), once a worker was forked; none without /proc."""
        if not self._imported:
            return {}
        with contextlib.suppress(OSError, ValueError), open(self._imported) as file:
            return json.load(file)
        return {}


def _anonymous_file() -> str:
    """A file that both can open, and that is gone with this process."""
    return f"/proc/{os.getpid()}/fd/{os.memfd_create('maitred-imported')}" if sys.platform == "linux" else ""


def _reaped(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True
