"""What a worker has begun, in memory that outlives it: how its agent knows after a SIGKILL.

The agent makes a page for each worker and reads it when the worker is dead; the worker writes its requests into it,
before the function runs and after the answer was handed to ZeroMQ. One writer, one reader, no lock: a slot's fields are
written before its state, and the state is one byte.

An answer that was handed to ZeroMQ has not left yet: who dies then has begun a request that the broker still waits for.
So an answered request stays on the page until its slot is needed. By then its answer has arrived, as the broker gives a
worker no more requests than it has slots, and the oldest answer arrives first.

The agent makes the page before anybody knows the service, with room for all that a worker may ever hold; the worker,
which knows what its batches take, says how much of it is in use. A look at all states is one strided copy.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
import tempfile
from collections import deque
from typing import Any, NamedTuple

__all__ = ["Started", "StartedPage"]

_HEADER = struct.Struct("<B3xIQ")  # how far it is, slots in use, served
_IN_USE, _IN_USE_AT = struct.Struct("<I"), 4
_SERVED, _SERVED_AT = struct.Struct("<Q"), 8
# Written one by one: packing begins with zeros, and who looks at that moment, or is killed in it, must not find them.

_SLOT = struct.Struct("<B7x16sQd")  # state, client id, request id, deadline (time.monotonic, system-wide on Linux)

_STARTING, _LOADED, _READY = range(3)  # how far a worker is

_FREE, _RUNNING, _ANSWERED = range(3)  # states of a slot


class Started(NamedTuple):
    """A request that was begun: its key, and when its time is up, on the system's monotonic clock."""

    client: bytes
    id: int
    deadline: float


class StartedPage:
    """Room for the requests of one worker. Handed to a process that is being started, both share it.

    Args:
        slots: how many requests the worker may have begun at a time.
    """

    def __init__(self, slots: int) -> None:
        self._open(_anonymous_file(), slots, truncate=True)

    def _open(self, descriptor: int, slots: int, *, truncate: bool = False) -> None:
        size = _HEADER.size + slots * _SLOT.size
        if truncate:
            os.ftruncate(descriptor, size)
        self._descriptor = descriptor
        self._slots = slots
        self._map = mmap.mmap(descriptor, size)
        self.narrow(slots)

    def __reduce__(self) -> tuple[Any, ...]:
        from multiprocessing.reduction import DupFd

        return _attach, (DupFd(self._descriptor), self._slots)

    # --- the worker writes ---

    def narrow(self, slots: int) -> None:
        """Use no more than so many of its slots; before the first request."""
        _IN_USE.pack_into(self._map, _IN_USE_AT, slots)
        self._available = deque(range(slots))  # never used, then answered, the oldest first

    def mark_loaded(self) -> None:
        """The worker has all it needs but a broker."""
        self._map[0] = _LOADED

    def mark_ready(self) -> None:
        """The worker takes requests from now on."""
        self._map[0] = _READY

    def begin(self, client: bytes, request_id: int, deadline: float) -> int:
        """Note a request that is about to run; returns its slot, for `end`.

        Raises:
            RuntimeError: all slots are taken.
        """
        if not self._available:
            raise RuntimeError(f"more than {self._in_use} requests were begun")
        slot = self._available.popleft()
        at = _HEADER.size + slot * _SLOT.size
        _SLOT.pack_into(self._map, at, _FREE, client, request_id, deadline)
        self._map[at] = _RUNNING
        return slot

    def end(self, slot: int) -> None:
        """The answer is on its way."""
        self._map[_HEADER.size + slot * _SLOT.size] = _ANSWERED
        self._available.append(slot)
        (served,) = _SERVED.unpack_from(self._map, _SERVED_AT)
        _SERVED.pack_into(self._map, _SERVED_AT, served + 1)

    # --- the agent reads ---

    @property
    def loaded(self) -> bool:
        """Whether the worker has loaded what it needs; it may still wait for a broker."""
        return self._map[0] >= _LOADED

    @property
    def ready(self) -> bool:
        """Whether the worker has ever been ready."""
        return self._map[0] == _READY

    @property
    def served(self) -> int:
        """How many requests it has answered."""
        return int(_SERVED.unpack_from(self._map, _SERVED_AT)[0])

    def running(self) -> list[Started]:
        """What was begun and not answered."""
        return self._in_state(_RUNNING)

    def begun(self) -> list[Started]:
        """What was begun and is not known to be answered: the answer may not have arrived."""
        return self._in_state(_RUNNING, _ANSWERED)

    @property
    def _in_use(self) -> int:
        return int(_IN_USE.unpack_from(self._map, _IN_USE_AT)[0])

    def _in_state(self, *wanted: int) -> list[Started]:
        end = _HEADER.size + self._in_use * _SLOT.size
        states = self._map[_HEADER.size : end : _SLOT.size]
        return [self._read(slot) for slot, state in enumerate(states) if state in wanted]

    def _read(self, slot: int) -> Started:
        _, client, request_id, deadline = _SLOT.unpack_from(self._map, _HEADER.size + slot * _SLOT.size)
        return Started(client, request_id, deadline)

    def close(self) -> None:
        """Free it here; the other process keeps its own view. Repeatable."""
        if not self._map.closed:
            self._map.close()
            os.close(self._descriptor)


def _attach(descriptor: Any, slots: int) -> StartedPage:
    page = StartedPage.__new__(StartedPage)
    page._open(descriptor.detach(), slots)  # pyright: ignore[reportPrivateUsage]
    return page


def _anonymous_file() -> int:
    if sys.platform == "linux":
        return os.memfd_create("maitred-started")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
