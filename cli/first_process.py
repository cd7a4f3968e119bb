"""The first process of a container has duties that a kernel gives nobody else: `maitred` there has a child that serves.

    signals     are ignored by the first process where it has no handler yet: they are passed on, from the first moment
    orphans     become its children: it asks for their exit codes, so that none stays as a zombie
    the end     its exit code is the child's; the kernel kills whoever is left with it

So a container needs no other init. Elsewhere nothing happens.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import NoReturn

__all__ = ["serve_in_a_child"]

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)

SIGNALLED = 128
"""Added to a signal's number, it is the exit code of whoever was ended by it, as shells and engines have it."""


def serve_in_a_child() -> None:
    """Return in this process, or, where it is the first one, in a child of it: before any thread is started."""
    if os.getpid() != 1:
        return
    taken = {*PASSED_ON, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, taken)  # those that come before they are waited for are kept
    child = os.fork()
    if child:
        _be_first(child, taken)
    with contextlib.suppress(OSError):
        _take_terminal()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, taken)


def _take_terminal() -> None:
    """A group of its own, so that a terminal's Ctrl-C comes to it alone, and not once more from the first process."""
    os.setpgid(0, 0)
    if sys.stdin.isatty():
        before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        os.tcsetpgrp(sys.stdin.fileno(), os.getpgrp())
        signal.signal(signal.SIGTTOU, before)


def _be_first(child: int, taken: set[signal.Signals]) -> NoReturn:
    while True:
        number = signal.sigwait(taken)
        if number != signal.SIGCHLD:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)
        for pid, status in _ended():
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                os._exit(code if code >= 0 else SIGNALLED - code)


def _ended() -> list[tuple[int, int]]:
    """Who has ended, with their status. One signal may stand for several of them."""
    found: list[tuple[int, int]] = []
    with contextlib.suppress(ChildProcessError):
        while (one := os.waitpid(-1, os.WNOHANG))[0]:
            found.append(one)
    return found
