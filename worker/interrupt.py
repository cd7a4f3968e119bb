"""Raises `Cancelled` in a synchronous function that runs in the main thread: out of a loop, and out of a blocking call.

    run = window.call(run, function, **arguments)        main thread: armed for this one, strictly around the function
    run.overdue = True; window.knock()                   any other thread: a signal for the main thread

Python runs signal handlers in the main thread, between two instructions of whatever runs there, and a system call that
waits is broken off for it (PEP 475). So the handler looks where it is. It raises only where what is armed is overdue, and
only in the application's own frames: neither before the function has begun nor once it has returned (an answer is never
lost, the next request never hit), nor in maitred's code that the function has called, whose locks and sockets must stay
whole. There it does nothing, and whoever knocked knocks again.

An armed window costs 0.3 us a call: 0.15 us for passing the arguments on, 0.1 us for binding what is armed, and 0.05 us for
arming and disarming (timeit, one core of a shared server, CPython 3.11).
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from types import FrameType
from typing import Any, Protocol

from maitred.worker.context import Cancelled

__all__ = ["Stoppable", "Window", "unguarded"]

_OURS = ("maitred.client", "maitred.protocol", "maitred.transport", "maitred.worker")
_APPLICATION_LIKE = "maitred.worker.adapters"


class Stoppable(Protocol):
    """What is run: a request, or a batch of them."""

    @property
    def overdue(self) -> bool:
        """Whether it was told to stop, long enough ago."""
        ...

    def interrupt(self) -> Cancelled:
        """Note that it is interrupted, this once; returns what is raised in it."""
        ...


def unguarded(function: Any, /, *args: Any, **kwargs: Any) -> Any:
    """Call a function as `Window.call` does, where nothing can interrupt it."""
    return function(*args, **kwargs)


class Window:
    """The main thread's. `open` it there before the first call, `close` it when nobody will knock any more."""

    def __init__(self) -> None:
        self._armed: Stoppable | None = None
        self._number: int | None = None
        self._lock = threading.Lock()

    def open(self) -> None:
        """Take a signal that nobody else in this process uses; without one, nothing is ever interrupted. Repeatable."""
        if self._number is not None:
            return
        self._number = _free_signal()
        if self._number is None:
            print("no signal is free: synchronous functions cannot be interrupted", file=sys.stderr)
        else:
            signal.signal(self._number, self._handle)

    def close(self) -> None:
        """Give the signal back: ignored, as one may still be on its way, and the default action is to end the process."""
        with self._lock:
            number, self._number = self._number, None
        if number is not None and signal.getsignal(number) == self._handle:
            signal.signal(number, signal.SIG_IGN)

    def call(self, armed: Stoppable, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a function that may be interrupted. In the main thread.

        Raises:
            Cancelled: it was, and let it pass.
        """
        self._armed = armed
        try:
            return function(*args, **kwargs)
        finally:
            self._armed = None

    def knock(self) -> None:
        """Send the signal, where the window is open for something that is overdue. From another thread, again and again."""
        armed = self._armed
        if armed is None or not armed.overdue:
            return
        with self._lock:  # of the application's own handler, set since, it would be a false alarm
            if self._number is not None and signal.getsignal(self._number) == self._handle:
                signal.pthread_kill(_main_thread(), self._number)

    def _handle(self, _number: int, frame: FrameType | None) -> None:
        armed = self._armed
        if armed is not None and armed.overdue and _in_application(frame):
            self._armed = None  # once: its `finally` blocks are left alone
            raise armed.interrupt()


def _in_application(frame: FrameType | None) -> bool:
    """Whether the function runs just now: no code of maitred's was called by it, and it is still there."""
    inner = frame
    while frame is not None:
        if frame.f_code.co_name == "__del__":  # Python would swallow it there; whoever knocked knocks again
            return False
        if _is_ours(frame):
            return frame is not inner and frame.f_code is Window.call.__code__
        frame = frame.f_back
    return False


def _is_ours(frame: FrameType) -> bool:
    module = frame.f_globals.get("__name__", "")
    return isinstance(module, str) and module.startswith(_OURS) and not module.startswith(_APPLICATION_LIKE)


def _main_thread() -> int:
    return threading.main_thread().ident or 0


def _free_signal() -> int | None:
    """One that is neither handled nor ignored.

    A real-time signal where there are any: no shell, no library and no handler of Python's sends one by itself, while
    SIGUSR1 and SIGUSR2 are what people choose for stack dumps (`faulthandler.register`) and log levels. The first ones
    are taken by libraries that count upwards, the last one by debuggers.
    """
    taken = _caught_in_c()
    for number in _candidates():
        free = not taken >> (number - 1) & 1 and signal.getsignal(number) in (signal.SIG_DFL, signal.SIG_IGN)
        if free:
            return number
    return None


def _candidates() -> list[int]:
    if sys.platform != "linux":
        return [signal.SIGUSR2, signal.SIGUSR1]
    return list(range(signal.SIGRTMAX - 1, signal.SIGRTMIN, -1))


def _caught_in_c() -> int:
    """The signals with a handler, as a mask: `faulthandler.register` and C libraries set theirs behind Python's back."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError), open("/proc/self/status") as status:
            return next((int(line.split()[1], 16) for line in status if line.startswith("SigCgt:")), 0)
    return 0
