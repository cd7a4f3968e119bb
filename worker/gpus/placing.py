"""Which GPU the next worker is given. Pure."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["place"]


def place(
    free: Mapping[str, int], needed_bytes: int | None, taken: Mapping[str, int], workers: Mapping[str, int]
) -> str | None:
    """The UUID of a device, or None where none has room.

    Args:
        free: bytes that nobody has, of each device.
        needed_bytes: what the worker needs; None: it is not known, so they are given in turn.
        taken: bytes promised to workers that have not loaded yet: the device does not know of them.
        workers: how many each device was given.
    """
    room = {uuid: bytes_ - taken.get(uuid, 0) for uuid, bytes_ in free.items()}
    if needed_bytes is None:
        return min(room, key=lambda uuid: (workers.get(uuid, 0), -room[uuid]), default=None)
    fitting = [uuid for uuid in room if room[uuid] >= needed_bytes]
    return max(fitting, key=lambda uuid: (room[uuid], -workers.get(uuid, 0)), default=None)
