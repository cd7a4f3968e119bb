"""A descriptor that any thread can make readable, and that a poll of ZeroMQ sockets can include."""

from __future__ import annotations

import contextlib
import os

__all__ = ["Wake"]


class Wake:
    """`set` wakes whoever polls `fileno()`, until `clear`. Belongs to one process: a forked child makes its own.

    Attributes:
        raised: whether it was set and not cleared since.
    """

    def __init__(self) -> None:
        self.raised = False
        self._out, self._in = os.pipe()
        os.set_blocking(self._out, False)
        os.set_blocking(self._in, False)

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self._out

    def set(self) -> None:
        """Wake; from any thread, as often as you like."""
        if not self.raised:
            self.raised = True
            with contextlib.suppress(BlockingIOError):  # full means woken
                os.write(self._in, b"w")

    def clear(self) -> None:
        """Sleep again. To be called where the descriptor was found readable; look afterwards at what there is to do."""
        # Whatever `raised` says: a setter may have raised it, been overtaken by a clear, and written only then. Its byte
        # would keep the descriptor readable for good if it were left.
        with contextlib.suppress(BlockingIOError):
            os.read(self._out, 512)
        # Last: whoever sets it between the two lines writes nothing, and is seen by the look that follows.
        self.raised = False

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # where it was not even made
            os.close(self._out)
            os.close(self._in)
