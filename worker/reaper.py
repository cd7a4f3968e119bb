"""Ends what a pool's workers leave behind. Standard library only: it is run as a file, by an interpreter without packages.

    process groups      each worker has one; its agent ends it when the worker is dead
    the reaper          a process beside the agent that holds a pipe to it: when the agent is gone, however it went, it
                        ends the groups of its workers, and whoever carries its mark
    the mark            a variable in the environment that all descendants of an agent inherit: the pool, and who the agent
                        is; seen in /proc/PID/environ whatever became of group, session and parent
    the sweep           an agent that starts ends whoever carries the mark of an agent of the same pool that is gone: for
                        when the reaper was killed, too

Not covered: who left the group and was executed with an environment without the mark; only a control group holds those,
where there is one (`worker.memory`). Where there is no /proc there are the groups only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

__all__ = ["MARK", "Reaper", "mark", "sweep"]

MARK = "MAITRED_AGENT"
"""Variable of the environment: "PID STARTED POOL ENDPOINT"; the first two name a process for good."""

PATIENCE_S = 2.0
"""How long one that forks faster than it is killed is pursued."""

AGAIN_S = 0.02
"""Between two looks: what was being forked at the first one is found by the second."""


def mark(pool: str, endpoint: str) -> str:
    """What the descendants of this process, an agent, are to carry."""
    return f"{os.getpid()} {_started(os.getpid())} {pool} {endpoint}"


def sweep(own: str) -> int:
    """End the descendants of agents of this pool and endpoint that are gone; returns how many were found.

    Args:
        own: the mark of the agent that asks.
    """
    instance = own.split(" ", 2)[2]
    found = 0
    for pid, found_mark in _marked().items():
        agent, started, its_instance = found_mark.split(" ", 2)
        if its_instance == instance and _started(int(agent)) != started:
            _kill(pid)
            found += 1
    return found


class Reaper:
    """An agent's end of it: starts the process, and tells it of workers. In the main thread.

    Args:
        own: the mark.
    """

    def __init__(self, own: str) -> None:
        self._own = own
        self._groups: list[int] = []
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, self._own],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    def watch(self, group: int) -> None:
        """A worker was started."""
        self._groups.append(group)
        self._tell(f"+{group}\n")

    def forget(self, group: int) -> None:
        """It is dead: end what is left of its group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
        with contextlib.suppress(ValueError):
            self._groups.remove(group)
        self._tell(f"-{group}\n")

    def close(self) -> None:
        """No worker lives any more: return when nobody is left that carries the mark."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self._process.communicate(timeout=2 * PATIENCE_S)

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            os.write(self._process.stdin.fileno(), line.encode())
        except BrokenPipeError:  # somebody has killed it
            self._process.communicate()
            self._start()
            os.write(self._process.stdin.fileno(), "".join(f"+{group}\n" for group in self._groups).encode())


def main() -> None:
    """Wait for the end of standard input, which is the end of the agent; then end all that it left."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    groups: dict[str, None] = {}
    with contextlib.suppress(OSError):
        for line in sys.stdin:
            if line.startswith("+"):
                groups[line[1:].strip()] = None
            else:
                groups.pop(line[1:].strip(), None)
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(int(group), signal.SIGKILL)
    end = time.monotonic() + PATIENCE_S
    clean = 0
    while clean < 2 and time.monotonic() < end:
        found = [pid for pid, found_mark in _marked().items() if found_mark == sys.argv[1]]
        clean = 0 if found else clean + 1
        for pid in found:
            _kill(pid)
        time.sleep(AGAIN_S)


def _marked() -> dict[int, str]:
    """Who carries a mark, but for this process."""
    prefix = f"{MARK}=".encode()
    found: dict[int, str] = {}
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # gone, or somebody else's
            for variable in (directory / "environ").read_bytes().split(b"\0"):
                if variable.startswith(prefix):
                    found[int(directory.name)] = variable[len(prefix) :].decode(errors="replace")
    found.pop(os.getpid(), None)
    return {pid: found_mark for pid, found_mark in found.items() if _is_mark(found_mark)}


def _is_mark(text: str) -> bool:
    agent, *others = text.split(" ")
    return agent.isdecimal() and len(others) >= 3


def _started(pid: int) -> str:
    """When a process began, in ticks since the system did; empty where it is gone, or there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
