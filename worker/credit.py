"""How many parts of a stream a running command may send before its reader has taken some. Blocks, under no loop."""

from __future__ import annotations

import threading

from maitred.worker.context import Context

__all__ = ["Credit"]


class Credit:
    """One stream's credit. `take` is called by the function's thread, the rest from any.

    Args:
        window: parts that the reader can take now; 0 means that it wants none at all, and parts are dropped.
    """

    def __init__(self, window: int) -> None:
        self.wanted = window > 0
        self._left = window
        self._changed = threading.Condition()

    def take(self, context: Context) -> None:
        """Wait until the reader has room for one part more.

        Raises:
            Cancelled: the request was told to stop meanwhile, or its time ran out.
        """
        with self._changed:
            while not self._left:
                context.check_cancelled()
                self._changed.wait(context.remaining)
            self._left -= 1

    def take_now(self) -> bool:
        """Take room for one part if there is any."""
        with self._changed:
            if not self._left:
                return False
            self._left -= 1
            return True

    def add(self, parts: int) -> None:
        """The reader has room for so many more."""
        if not self.wanted:
            return
        with self._changed:
            self._left += parts
            self._changed.notify_all()

    def wake(self) -> None:
        """Have `take` look at its context again."""
        with self._changed:
            self._changed.notify_all()
