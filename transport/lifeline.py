"""How a process stays tied to its parent: it must not outlive it, whatever killed the parent.

Two ways, used together:

- `die_with_parent`: the kernel kills this process. Linux only. It works even while C code holds the interpreter.
- `Lifeline`: a pipe whose other end the parent holds. End of file means that nobody holds it any more. It works
  everywhere, but needs a thread or a loop that gets to run.

Traps, both measured:

- The kernel's signal (`PR_SET_PDEATHSIG`) fires when the *thread* that started this process ends, not its process: a
  healthy child of a thread pool is killed when the pool shrinks. Start children from a thread that lives as long as its
  process (the main thread).
- A life-line is held by everyone who inherited the holding end. Descriptors of `open_lifeline` are not inherited
  across an exec, but a *forked* child has them: it must close the holding end first thing, or it keeps its siblings
  (and itself) alive.
"""

from __future__ import annotations

import ctypes
import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

__all__ = ["EXIT_PARENT_GONE", "Lifeline", "die_with_parent", "exit_parent_gone", "open_lifeline"]

EXIT_PARENT_GONE = 113
"""Exit code of a process that found its parent gone: no shell, no libc and no signal uses this number."""

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_READ_BYTES = 4096

_log = logging.getLogger(__name__)


def exit_parent_gone() -> NoReturn:
    """End this process at once, from any thread, running no handlers: whoever would wait for them is gone."""
    os._exit(EXIT_PARENT_GONE)


def die_with_parent(parent_pid: int) -> bool:
    """Have the kernel kill this process (SIGKILL) when the thread that started it ends; see the traps above.

    Call it first thing in the child, in its main thread. A fork forgets it: each child calls it anew.

    Args:
        parent_pid: the parent as it knew itself (`os.getpid()`) before starting this process. If that is not our
            parent any more, it died before the kernel knew what to do, and this process ends at once.

    Returns:
        False where the system cannot do it (a notice is logged): use a `Lifeline`.
    """
    done = _set_parent_death_signal()
    if os.getppid() != parent_pid:
        exit_parent_gone()
    return done


def _set_parent_death_signal() -> bool:
    if sys.platform != "linux":
        _log.info("this system cannot end a process with its parent; only the life-line does")
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) == 0:
        return True
    reason = os.strerror(ctypes.get_errno())
    _log.warning("prctl(PR_SET_PDEATHSIG) failed (%s); only the life-line ends this process with its parent", reason)
    return False


def open_lifeline() -> tuple[int, int]:
    """Make a pipe: the end to give to the child (`Lifeline`, `pass_fds`), and the end that the parent just holds.

    Neither is inherited across an exec unless asked for. The parent closes the child's end once the child has it.
    """
    return os.pipe()


class Lifeline:
    """The child's end of a life-line; owns the descriptor.

    Args:
        descriptor: the reading end, as given by the parent. What is written to it is ignored, only its end counts.
    """

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        os.set_inheritable(descriptor, False)
        self._descriptor = descriptor
        self._stop_in, self._stop_out = os.pipe()
        self._thread: threading.Thread | None = None
        self._closed = False

    def watch(self, on_gone: Callable[[], object] = exit_parent_gone) -> None:
        """Call `on_gone` in a thread of its own, once, when the parent is gone. The thread never keeps the process."""
        if self._thread is not None or self._closed:
            raise RuntimeError("this life-line is watched already, or closed")
        self._thread = threading.Thread(target=self._watch, args=(on_gone,), name="lifeline", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching, and free the descriptors. Repeatable."""
        if self._closed:
            return
        self._closed = True
        os.close(self._stop_out)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        os.close(self._stop_in)
        os.close(self._descriptor)

    def is_gone(self) -> bool:
        """Whether the parent is gone; never blocks."""
        try:
            while data := os.read(self._descriptor, _READ_BYTES):
                del data
        except BlockingIOError:
            return False
        return True

    async def wait_gone(self) -> None:
        """Return when the parent is gone. Under trio. Cancelling it changes nothing; do so before `close`."""
        import trio  # here: most processes that watch a life-line never need a loop

        await trio.lowlevel.checkpoint()
        while not self.is_gone():
            await trio.lowlevel.wait_readable(self._descriptor)

    def _watch(self, on_gone: Callable[[], object]) -> None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        poll.register(self._stop_in, select.POLLIN)
        while True:
            ready = [descriptor for descriptor, _ in poll.poll()]
            if self._stop_in in ready:
                return
            if self.is_gone():
                on_gone()
                return
