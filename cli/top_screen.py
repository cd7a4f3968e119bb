"""The terminal of `maitred top`: draws what the broker said, reads keys, and leaves everything as it was."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import sys
from collections.abc import Generator

from rich.console import Console, Group
from rich.live import Live

from maitred.cli.failures import report
from maitred.cli.keyboard import Keyboard
from maitred.cli.look import broker_line
from maitred.cli.options import Options
from maitred.cli.output import Exit, fail
from maitred.cli.pools import print_pools
from maitred.cli.top_asking import Asking
from maitred.cli.top_model import Model, Snapshot
from maitred.cli.top_view import draw
from maitred.cli.workers import print_workers
from maitred.client.errors import MaitredError

__all__ = ["show"]

LOOK_S = 0.5
"""How often the screen is drawn where nothing happens: that nothing comes is to be seen, too."""


def show(options: Options, *, once: bool) -> None:
    """Show it until the user leaves, or `once` as plain text; where there is no broker at first, end with 3."""
    read, write = os.pipe()
    for end in (read, write):
        os.set_blocking(end, False)
    once = once or not sys.stdout.isatty()
    asking = Asking(options, write, "w" if once else "p")
    asking.start()
    try:
        first = asking.answers.get()
        if isinstance(first, MaitredError):
            report(first)
        if not isinstance(first, Snapshot):
            fail(str(first), Exit.USAGE)
        if once:
            _print(first)
        else:
            with contextlib.suppress(KeyboardInterrupt), _woken_by_signals(write):
                _Screen(asking, read).run(first)
    finally:
        asking.stop()


def _print(it: Snapshot) -> None:
    print(broker_line(it.broker))
    print_pools(it.pools)
    print()
    print_workers(it.rows)


class _Screen:
    """The terminal, until the user leaves it."""

    def __init__(self, asking: Asking, wake: int) -> None:
        self._asking = asking
        self._wake = wake
        self._model = Model()
        self._keyboard = Keyboard()
        self._console = Console(highlight=False)
        self._blocks = self._console.encoding.startswith("utf")

    def run(self, first: Snapshot) -> None:
        self._model.take(first)
        with (
            self._keyboard.listening(),
            Live(console=self._console, screen=True, auto_refresh=False, redirect_stdout=False) as live,
        ):
            self._show(live)
            while self._go_on():
                self._show(live)

    def _show(self, live: Live) -> None:
        size = self._console.size
        lines = draw(self._model, size.width, size.height, self._asking.endpoint, blocks=self._blocks)
        live.update(Group(*lines), refresh=True)

    def _go_on(self) -> bool:
        """Wait until something changes; False: the user leaves."""
        watched = [self._wake, *([] if self._keyboard.descriptor is None else [self._keyboard.descriptor])]
        ready, _, _ = select.select(watched, [], [], LOOK_S)
        if self._wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake, 4096)
        self._asking.check()
        with contextlib.suppress(queue.Empty):
            while True:
                answer = self._asking.answers.get_nowait()
                if isinstance(answer, Snapshot):
                    self._model.take(answer)
                else:
                    self._model.fail(str(answer))
        keys = self._keyboard.read() if self._keyboard.descriptor in ready else []
        leaves = any(self._model.press(key) for key in keys)
        self._asking.show(self._model.view)
        return not leaves


@contextlib.contextmanager
def _woken_by_signals(wake: int) -> Generator[None]:
    """A change of the terminal's size has the screen drawn at once; being told to end leaves it as it was."""

    def leave(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGWINCH, lambda _number, _frame: None)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    try:
        yield
    finally:
        signal.set_wakeup_fd(-1)
