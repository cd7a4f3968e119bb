"""Find the GPUs of this host that may be used."""

from __future__ import annotations

import os
from collections import Counter

from maitred.worker.gpus.found import Gpus
from maitred.worker.gpus.lane import Blocked, Lane
from maitred.worker.gpus.nvml import Nvml, NvmlFailure
from maitred.worker.gpus.traces import looked_for
from maitred.worker.gpus.visible import VARIABLE, visible

__all__ = ["INIT_LIMIT_S", "GpuError", "find"]

INIT_LIMIT_S = 20.0
"""For NVML to start: a driver without persistence wakes each GPU for it, which takes a second or two each."""


class GpuError(Exception):
    """A pool requires a GPU, and there is none that can be used: what NVML said, and what was looked for."""


def find(gpu: str) -> Gpus:
    """Look for GPUs; may take `INIT_LIMIT_S` where a driver hangs.

    The agent's own `CUDA_VISIBLE_DEVICES` is obeyed.

    Args:
        gpu: "off": nothing is looked for; "auto": there may be none; "required": there must be one.

    Raises:
        GpuError: there is none that can be used, and `gpu` is "required".
    """
    if gpu == "off":
        return Gpus((), "off")
    found = _find()
    if gpu == "required" and not found.devices:
        found.close()
        raise GpuError(
            f"no GPU can be used: {found.words.removeprefix('none: ')}. Looked for: {'; '.join(looked_for())}"
        )
    return found


def _find() -> Gpus:
    lane = Lane("maitred-nvml")
    try:
        nvml = lane.call(Nvml, INIT_LIMIT_S)
    except Blocked:
        return _none(lane, f"NVML has not answered within {INIT_LIMIT_S:g} s")
    except NvmlFailure as failure:
        return _none(lane, f"NVML says: {failure}")
    chosen = os.environ.get(VARIABLE)
    devices = visible(chosen, nvml.gpus)
    if devices:
        kinds = Counter(device.name for device in devices)
        many = ", ".join(f"{n} × {name}" for name, n in kinds.items())  # noqa: RUF001 - as it is printed everywhere
        words = f"{many}, driver {nvml.driver}"
    elif not nvml.gpus:
        words = f"none: the driver {nvml.driver} has no GPU"
    elif not any(nvml.gpus):
        why = "" if nvml.refused else "MIG mode is on, and no slice has been made, "
        words = f"none: {why}driver {nvml.driver}"
    else:
        words = f"none: {VARIABLE}={chosen} leaves none of {len(nvml.gpus)}, driver {nvml.driver}"
    return Gpus(devices, "; ".join([words, *nvml.refused]), lane, nvml)


def _none(lane: Lane, reason: str) -> Gpus:
    lane.close()
    return Gpus((), f"none: {reason}")
