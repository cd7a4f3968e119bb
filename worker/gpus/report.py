"""GPUs for a person who asks why there are none, or which."""

from __future__ import annotations

from maitred.worker.gpus.finding import find
from maitred.worker.gpus.traces import looked_for

__all__ = ["describe"]

GIB = 1 << 30


def describe() -> list[str]:
    """What was looked for and what was found, a line each; without a driver, too."""
    gpus = find("auto")
    lines = [f"GPUs: {gpus.words}"]
    for device in gpus.devices:
        room = f"{gpus.free(device.uuid) / GIB:.1f} of {device.total / GIB:.1f} GiB free"
        lines.append(f"  {device.uuid}: {device.name}, {room}{', a slice of ' + device.of if device.mig else ''}")
    gpus.close()
    return lines + [f"  looked for {one}" for one in looked_for()]
