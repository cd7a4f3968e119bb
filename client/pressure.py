"""How full a pool is, for who watches it: always the broker's latest word, and never a backlog of earlier ones.

A watch is heard by the client's background thread. Between that and the thread that reads is one place (`Latest`), where a
newer word takes that of an older one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self, TypeAlias

from msgspec import Struct

from maitred.protocol import messages
from maitred.protocol.client import Failed, PressureChanged

__all__ = ["Latest", "Pressure", "PressureChanges", "PressureWatch", "pressure_of"]

Level: TypeAlias = Literal["ok", "high", "full"]

_log = logging.getLogger(__name__)


class Pressure(Struct, frozen=True):
    """How full a pool is.

    Attributes:
        pool: its name.
        level: "ok"; "high", where callers that can wait should; "full", where it refuses.
        queued: requests that wait.
        capacity: requests that may wait or run.
        retry_after: seconds after which a request refused now would find room; None: there is room, or nobody knows.
    """

    pool: str
    level: Level
    queued: int
    capacity: int
    retry_after: float | None


def pressure_of(event: PressureChanged) -> Pressure:
    """What the caller is told."""
    return Pressure(event.pool, messages.LEVELS[event.level], event.queued, event.capacity, event.retry_after)


class Latest:
    """The newest word, from the thread that hears it to one that reads it.

    Args:
        callback: is told each word besides, in the thread that hears.
    """

    def __init__(self, callback: Callable[[Pressure], object] | None = None) -> None:
        self._callback = callback
        self._changed = threading.Condition()
        self._word: PressureChanged | Failed | None = None
        self._begun = False
        self._over = False

    def put(self, event: PressureChanged | Failed) -> None:
        """Take a word in; an older one that nobody has read is gone. Never blocks."""
        with self._changed:
            if self._over:
                return
            self._word = event
            self._begun = True
            self._changed.notify_all()
        if self._callback is None:
            return
        if isinstance(event, Failed):
            _log.info("a watch of a pool has ended: %s", event.error)
            return
        try:
            self._callback(pressure_of(event))
        except BaseException:  # `sys.exit` in a callback ends no thread of ours
            _log.exception("the callback of a watch of pool %r failed", event.pool)

    def begin(self, timeout: float) -> bool:
        """Wait for the first word and leave it there; False when the time was over before.

        Raises:
            MaitredError: that is what the word is.
        """
        with self._changed:
            begun = self._changed.wait_for(lambda: self._begun, timeout)
            if isinstance(self._word, Failed):
                raise self._word.error
            return begun

    def take(self) -> Pressure | None:
        """Wait for a word that was not taken yet; None: it is over.

        Raises:
            MaitredError: the watch has ended so.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._word is not None or self._over)
            word, self._word = self._word, None
            if isinstance(word, Failed):
                self._over = True
                raise word.error
            return None if word is None or self._over else pressure_of(word)

    def end(self) -> None:
        """Let nothing more be heard, and nobody wait."""
        with self._changed:
            self._over = True
            self._changed.notify_all()


class PressureWatch:
    """Has a callback told how full a pool is, until it is closed. Made by `Client.pressure`; a context manager."""

    def __init__(self, latest: Latest, stop: Callable[[], None]) -> None:
        self._latest = latest
        self._stop = stop
        self._pid = os.getpid()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Watch no more. Repeatable, from any thread; a callback that is being called may still be."""
        if self._pid == os.getpid():  # the parent's; and its thread may have held a lock when this process was forked
            self._latest.end()
            self._stop()


class PressureChanges(PressureWatch):
    """How full a pool is, to be iterated over: now, and at each change. Made by `Client.pressure`; a context manager.

    `next` waits for the next change; a reader that is slow is told the latest state, not each one in between. `close`, from
    whichever thread, ends the iteration; so does dropping it.
    """

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # it was not even made
            self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Pressure:
        if self._pid != os.getpid():
            raise RuntimeError("a watch is read by the process that began it")
        word = self._latest.take()
        if word is None:
            raise StopIteration
        return word
